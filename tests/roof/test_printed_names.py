"""Whoever writes rows chooses names; none of them begins a line of its own in a log or a table."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.utils import timezone

from async_attempts import call
from async_attempts.exceptions import AttemptFailed, InvalidTarget, ResultNotKept, UnknownKey
from async_attempts.models import Attempt, Schedule
from async_attempts.payload import Arguments
from async_attempts.results.outcomes import Ending
from async_attempts.store import Ticked, store_for
from async_attempts.worker.execution.missing_keys import MissingKeys
from async_attempts.worker.maintenance import schedule_ticks
from async_attempts.worker.maintenance.schedule_ticks import ScheduleTicks
from tests.shop import clients

EVIL = "shop\n2026-01-01 ERROR all is lost\x1b[2J\u202e"
ESCAPED = r"shop\n2026-01-01 ERROR all is lost\x1b[2J\u202e"
MODELS = [m for m in apps.get_app_config("async_attempts").get_models() if not m._meta.proxy]


def claimed(database: str, **columns: Any) -> Any:
    """A claim of an attempt whose columns somebody changed in its row."""
    attempt = call(clients.send_welcome, 1).using(database=database).enqueue()
    Attempt._base_manager.using(database).filter(pk=attempt.pk).update(**columns)
    store = store_for(database)
    worker = store.database.workers.create(
        host="web-1", pid=7, lease=timezone.now() + timedelta(hours=1)
    )
    [claim] = store.claims.claim(worker.pk, [attempt.queue], 1)
    return claim


@pytest.mark.parametrize("column", ["target", "method_name"])
def test_a_claims_log_line_is_one_line(database, column):
    claim = claimed(database, **{column: EVIL})
    for told in (str(claim), repr(claim)):
        assert ESCAPED in told
        assert told.isprintable()
        assert str(claim.id) in told


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_text_of_each_row_is_one_line(model):
    """Whatever columns it is made of, and whatever stands in them."""
    row = model(pk=uuid4())
    for field in model._meta.concrete_fields:
        if not field.primary_key and field.get_internal_type() in ("CharField", "TextField"):
            setattr(row, field.attname, EVIL)
        elif field.get_internal_type() == "DateTimeField":
            setattr(row, field.attname, datetime(2026, 1, 1, tzinfo=UTC))
    if model._meta.pk.get_internal_type() == "CharField":
        row.pk = EVIL
    assert str(row).isprintable()
    assert str(row)


def test_the_text_of_an_error_that_is_waited_for_is_one_line():
    ending = Ending(uuid4(), "failed", EVIL, EVIL, error_class=EVIL)
    for error in (AttemptFailed(ending), ResultNotKept(ending)):
        assert ESCAPED in str(error)
        assert str(error).isprintable()


@pytest.mark.parametrize("problem", [None, InvalidTarget(f"{EVIL} is not attemptable.")])
def test_a_ticks_log_line_is_one_line(monkeypatch, caplog, problem):
    monkeypatch.setattr(schedule_ticks, "now", lambda: 1.0)
    with caplog.at_level(logging.INFO, logger="async_attempts"):
        ScheduleTicks(store_for("default"))._tell(Ticked(EVIL, problem=problem))
    [record] = caplog.records
    assert record.getMessage().startswith(f"schedule {ESCAPED}: a tick ")
    assert record.getMessage().isprintable()


def test_the_id_of_a_key_is_one_line(database):
    claim = claimed(database)
    reason = MissingKeys().put_off(claim, UnknownKey("", "v3\x1b[2J\x00")).reason
    assert r"v3\x1b[2J\x00" in reason
    assert reason.isprintable()


@pytest.fixture
def named_evil(at_home):
    """A schedule and a waiting attempt that somebody wrote past all checks."""
    row = Schedule(name=EVIL, cron="@daily", timezone=EVIL[:60], target=EVIL)
    row.seal(Arguments())
    row.next_tick = datetime(2099, 1, 1, tzinfo=UTC)
    row.write(at_home, None)
    attempt = call(clients.send_welcome, 1).using(database=at_home).enqueue()
    reason = "sealed with key \x1b[2Jv3\n, which ASYNC_ATTEMPTS['KEYS'] doesn't have"
    queue = {"queue": EVIL[:60], "reason": reason}
    Attempt._base_manager.using(at_home).filter(pk=attempt.pk).update(**queue)
    return at_home


@pytest.mark.parametrize("command", ["schedules", "stats"])
def test_a_commands_tables_have_a_line_for_each_row(named_evil, capsys, command):
    call_command("attempts", command, database=named_evil)
    printed = capsys.readouterr().out
    assert r"shop\n2026-01-01 ERROR" in printed
    assert all(line.isprintable() for line in printed.split("\n"))


def test_the_names_that_an_error_lists_are_on_one_line(named_evil):
    with pytest.raises(CommandError) as raised:
        call_command("attempts", "schedules", pause="nothing", database=named_evil)
    assert ESCAPED in str(raised.value)
    assert str(raised.value).isprintable()
