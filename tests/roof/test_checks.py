"""System checks: each misconfiguration is told by its id, a clean project hears nothing."""

from __future__ import annotations

import base64
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.conf import settings as django_settings
from django.core.checks import Error, run_checks
from django.core.checks import Warning as Notice
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections
from django.db.backends.postgresql import psycopg_any
from psycopg import IsolationLevel

from async_attempts import Backoff, attemptable, checks, recurring, schedules
from async_attempts.checks import configuration
from async_attempts.models import get_attempt_model
from async_attempts.store import store_for
from async_attempts.targets import Policy, decorator, policy_of, registered
from tests.databases import move_table
from tests.shop import clients, follow_ups, paced, reports
from tests.shop.paced import REMINDING

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


DECORATED = (clients, reports)
"""Checked as far as they are imported."""


def found() -> dict[str, Any]:
    return {str(message.id): message for message in run_checks(tags=["async_attempts"])}


def ids() -> list[str]:
    return [identifier.removeprefix("async_attempts.") for identifier in found()]


def told() -> str:
    return "\n".join(str(message) for message in run_checks(tags=["async_attempts"]))


@pytest.fixture
def attempts(settings: Any) -> Any:
    """Changes ASYNC_ATTEMPTS for the rest of the test."""

    def change(**given: Any) -> None:
        settings.ASYNC_ATTEMPTS = django_settings.ASYNC_ATTEMPTS | given

    return change


def test_a_clean_project_hears_nothing():
    assert {module.__name__ for module in DECORATED} <= {n.rpartition(".")[0] for n in registered()}
    assert found() == {}


@pytest.mark.parametrize("option", ["debounce", "throttle"])
def test_a_debounced_target_with_arguments_needs_a_key(option: str, request: pytest.FixtureRequest):
    decorated: Any = attemptable

    def declare(**options: Any) -> None:
        decorated(**options)(paced.remind)

    request.addfinalizer(partial(declare, **REMINDING))
    declare(**{option: 5})
    assert ids() == ["W015"]
    message = found()["async_attempts.W015"]
    assert isinstance(message, Notice)
    assert f"@attemptable on tests.shop.paced.remind: {option} without a key" in str(message)
    for key in (lambda number: number, "all"):
        declare(**{option: 5, "key": key})
        assert ids() == []


# Django's own check of a JSONField may ask the databases.
@pytest.mark.django_db(databases="__all__")
def test_they_run_with_manage_py_check(attempts: Any):
    attempts(KEYS=["short"])
    with pytest.raises(SystemCheckError, match=r"async_attempts\.E002"):
        call_command("check")


@pytest.mark.parametrize(
    ("given", "part"),
    [({"KEY": []}, "'KEYS'"), ({"LEASE": 0}, "LEASE"), ({"QUEUES": {}}, "QUEUES")],
)
def test_a_setting_that_is_wrong(attempts: Any, given: Any, part: str):
    attempts(**given)
    (message,) = run_checks(tags=["async_attempts"])
    assert (message.id, type(message)) == ("async_attempts.E001", Error)
    assert part in str(message)


def test_keys_that_are_missing_are_an_error_outside_of_debug(attempts: Any, settings: Any):
    attempts(KEYS=[])
    settings.DEBUG = False
    assert ids() == ["E002"]
    message = found()["async_attempts.E002"]
    assert isinstance(message, Error)
    assert "KEYS" in str(message)
    assert "make-key" in str(message)


def test_a_key_made_of_the_secret_key_is_a_warning_in_debug(attempts: Any, settings: Any):
    attempts(KEYS=[])
    settings.DEBUG = True
    assert ids() == ["W001"]
    assert isinstance(found()["async_attempts.W001"], Notice)


def test_real_keys_are_no_warning_in_debug(settings: Any):
    settings.DEBUG = True
    assert ids() == []


@pytest.mark.parametrize("key", [KEY[:-8], KEY + KEY, "ä" * 32, "", "not base64!"])
def test_a_key_of_the_wrong_length_is_named_by_its_place_and_not_shown(attempts: Any, key: str):
    attempts(KEYS=[KEY, key])
    assert ids() == ["E002"]
    message = str(found()["async_attempts.E002"])
    assert "['KEYS'][1]" in message
    assert not key or key not in message
    assert KEY not in message


def test_a_key_that_is_not_random_is_refused(attempts: Any):
    weak = [base64.b64encode(text).decode() for text in (b"changeme" * 4, bytes(32))]
    attempts(KEYS=[KEY, weak[0], f"retired:{weak[1]}"])
    found = run_checks(tags=["security"], include_deployment_checks=True)
    told = [str(one) for one in found if one.id == "async_attempts.E014"]
    assert "['KEYS'][1] has only 7 different bytes" in told[0]
    assert "['KEYS'][2] has only 1 different bytes" in told[1]
    assert not [one for one in told if weak[0] in one or weak[1] in one]
    attempts(KEYS=[KEY])
    assert checks.check_key_strength() == []


def test_a_file_of_keys_that_everybody_may_read_is_a_warning(attempts: Any, tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text(KEY)
    attempts(KEYS=[], KEYS_FILE=str(path))
    path.chmod(0o640)
    assert ids() == []
    path.chmod(0o644)
    assert ids() == ["W010"]
    assert str(path) in str(found()["async_attempts.W010"])


def test_a_cipher_that_is_not_there(attempts: Any):
    attempts(CIPHER="tests.shop.clients.NoSuchCipher")
    assert ids() == ["E002"]
    assert "CIPHER" in str(found()["async_attempts.E002"])


def test_a_decorators_queue_must_be_declared(attempts: Any):
    attempts(QUEUES={"default": {}, "fulfilment": {}})
    assert {*ids()} == {"E003"}
    assert "@attemptable on tests.shop.clients.shout: the queue 'emails'" in told()


def test_a_decorators_priority_must_be_declared(attempts: Any):
    attempts(PRIORITIES={"urgent": 90})
    assert {*ids()} == {"E004"}
    assert "@attemptable on tests.shop.reports.report: the priority 'high'" in told()


def test_where_a_backoff_sends_retries_must_be_declared(attempts: Any):
    busy = Policy(backoff=Backoff(queue="retry", priority="idle"))
    with mock.patch.dict(decorator._policies, {"shop.send": busy}):
        attempts()
        assert ids() == ["E003", "E004"]
        assert "@attemptable on shop.send: backoff: the queue 'retry' is not declared" in told()
        assert "@attemptable on shop.send: backoff: the priority 'idle'" in told()


NIGHTLY = {"cron": "0 2 * * *", "target": "tests.shop.reports.recount"}


def test_a_schedule_that_can_be_enqueued_is_right(attempts: Any):
    attempts(SCHEDULES={"nightly": NIGHTLY})
    assert ids() == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"target": "tests.shop.reports.no_such_function"}, "no_such_function"),
        ({"target": "os.path.join"}, "no installed app"),
        ({"method_args": [1]}, "recount"),
        ({"method_args": 1}, "method_args"),
        ({"queue": "email"}, "queue: 'email' is not declared"),
        ({"priority": 101}, "priority: must be"),
        ({"priority": "urgent"}, "priority: 'urgent'"),
    ],
)
def test_a_schedule_that_can_not_be_enqueued_is_told(attempts: Any, options: Any, part: str):
    attempts(SCHEDULES={"nightly": NIGHTLY | options})
    assert ids() == ["E013"]
    assert part in told()


def test_a_schedule_that_is_declared_twice_is_told(attempts: Any, monkeypatch: Any):
    monkeypatch.setattr(schedules, "_in_code", {})
    recurring("0 3 * * *", name="nightly")(reports.recount)
    attempts(SCHEDULES={"nightly": NIGHTLY})
    assert ids() == ["E012"]


def test_times_need_zones(settings: Any):
    settings.USE_TZ = False
    assert ids() == ["E005"]


@pytest.mark.parametrize(
    ("given", "identifier"),
    [
        (
            {"QUEUES": {"default": {"relay": "celery"}, "emails": {}, "fulfilment": {}}},
            "W003",
        ),
    ],
)
def test_what_has_no_effect_yet_is_told(attempts: Any, given: Any, identifier: str):
    attempts(**given)
    assert ids() == [identifier]


def test_what_a_queue_keeps_has_an_effect(attempts: Any):
    keep = {"keep": {"succeeded": 0}}
    attempts(QUEUES={"default": keep, "emails": {}, "fulfilment": {}})
    assert ids() == []


@pytest.mark.parametrize("options", [{}, {"transaction_mode": "DEFERRED"}])
def test_sqlite_needs_immediate_transactions(monkeypatch: Any, options: Any):
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    assert ids() == ["E007"]
    message = str(found()["async_attempts.E007"])
    assert "DATABASES['default']" in message
    assert "'transaction_mode'" in message


def test_the_mode_may_be_written_in_small_letters(monkeypatch: Any):
    options = {"transaction_mode": "immediate"}
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    assert ids() == []


class NoAttemptsOnSQLite:
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if (db, app_label) == ("default", "async_attempts") else None


def test_a_database_that_holds_no_attempts_is_left_in_peace(monkeypatch: Any, settings: Any):
    settings.DATABASE_ROUTERS = [NoAttemptsOnSQLite()]
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {})
    assert ids() == []


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (IsolationLevel.REPEATABLE_READ, ["W004"]),
        (IsolationLevel.SERIALIZABLE, ["W004"]),
        (IsolationLevel.READ_COMMITTED, []),
        (None, []),
    ],
)
def test_a_workers_postgresql_reads_what_is_committed(
    monkeypatch: Any, level: Any, expected: list[str]
):
    options = {"isolation_level": level}
    monkeypatch.setitem(connections["postgresql"].settings_dict, "OPTIONS", options)
    assert ids() == expected


@pytest.fixture
def psycopg2(monkeypatch: Any, settings: Any):
    """Django has found the older driver alone, and no store was asked for yet."""
    monkeypatch.setattr(psycopg_any, "is_psycopg3", False)
    settings.ASYNC_ATTEMPTS_ATTEMPT_MODEL = settings.ASYNC_ATTEMPTS_ATTEMPT_MODEL


def test_postgresqls_older_driver_is_an_error(psycopg2: None):
    assert ids() == ["E010"]


def test_nothing_can_be_stored_by_postgresqls_older_driver(psycopg2: None):
    with pytest.raises(ImproperlyConfigured, match="psycopg 3, not psycopg2: pip install"):
        store_for("postgresql")


@pytest.mark.only("mariadb", reason="its isolation level is text")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"isolation_level": "repeatable read"}, ["W004"]),
        ({"isolation_level": "serializable"}, ["W004"]),
        ({"isolation_level": "READ COMMITTED"}, []),
        ({}, []),
    ],
)
def test_a_workers_mariadb_reads_what_is_committed(
    database: str, monkeypatch: Any, options: Any, expected: list[str]
):
    monkeypatch.setitem(connections[database].settings_dict, "OPTIONS", options)
    assert ids() == expected


@pytest.mark.parametrize(("zone", "expected"), [("Europe/Berlin", ["E008"]), ("UTC", [])])
def test_the_databases_clock_is_read_in_utc(monkeypatch: Any, zone: str, expected: list[str]):
    monkeypatch.setitem(connections["default"].settings_dict, "TIME_ZONE", zone)
    assert ids() == expected


def test_the_attempts_database_must_be_there(attempts: Any):
    attempts(DATABASE="nowhere")
    assert ids() == ["E009"]
    attempts(DATABASE="default")
    assert ids() == []


INHERITING = """
import django
django.setup()
from django.core.checks import run_checks
from async_attempts.models import AbstractAttempt, Attempt

class Seen(Attempt):
    class Meta:
        proxy = True
        app_label = "shop"

{definition}

print(*(f"{{m.id}} {{m.msg}}" for m in run_checks(tags=["async_attempts"])))
"""


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ("", ""),
        (
            "class Bonus(Attempt):\n    class Meta:\n        app_label = 'shop'",
            "async_attempts.E006 shop.Bonus inherits from async_attempts.Attempt's table.",
        ),
    ],
)
def test_an_attempts_table_is_not_inherited_from(
    child_environment: dict[str, str], definition: str, told: str
):
    child = subprocess.run(
        [sys.executable, "-c", INHERITING.format(definition=definition)],
        env=child_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == told


REALMS = "async_attempts.W007"


def test_databases_that_carry_attempts_need_realms_of_their_own(attempts):
    def shared() -> list[str]:
        return [str(m) for m in checks.check_realms(databases=aliases) if m.id == REALMS]

    aliases = ["default", "second"]
    with mock.patch.object(configuration, "_carries_attempts", lambda alias: alias in aliases):
        [told] = shared()
        assert "'default', 'second'" in told
        assert "REALM" in told
        attempts(REALM={"default": "shop", "second": "archive"})
        assert shared() == []
        attempts(REALM={"default": "shop"})
        [told] = map(str, checks.check_realms(databases=aliases))
        assert "names no realm for the database 'second'" in told


@pytest.mark.django_db(databases="__all__")
def test_only_databases_with_the_table_carry_attempts(monkeypatch):
    assert configuration._carries_attempts("default")
    move_table(monkeypatch, get_attempt_model())
    assert not configuration._carries_attempts("default")


def test_a_deployment_without_a_realm_is_warned(attempts):
    def told() -> list[str]:
        found = run_checks(tags=["security"], include_deployment_checks=True)
        return [str(message.id) for message in found if "REALM" in str(message)]

    assert told() == ["async_attempts.W008"]
    attempts(REALM="shop-production")
    assert told() == []


def test_what_can_not_follow_a_bad_end_is_told():
    name = "tests.shop.follow_ups.deliver_or_mark"
    policy = policy_of(follow_ups.deliver_or_mark)
    with mock.patch.dict(decorator._policies, {name: policy}):
        assert ids() == ["E015"]
        assert "never_marked" in told()
