"""`manage.py attempts schedules`."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from async_attempts import recurring, schedules
from async_attempts.models import Attempt
from async_attempts.store import store_for
from tests.shop import reports


@pytest.fixture(autouse=True)
def _one_declared(monkeypatch):
    monkeypatch.setattr(schedules, "_in_code", {})
    recurring("0 3 * * *", name="nightly", timezone="Asia/Tokyo")(reports.recount)


@pytest.fixture
def told(at_home, capsys):
    def told(**options):
        call_command("attempts", "schedules", **options)
        return capsys.readouterr().out.splitlines()

    return told


def test_they_are_listed_with_the_next_run_by_their_own_clock(told):
    head, line = told()
    assert head.split() == ["NAME", "WHEN", "TIMEZONE", "NEXT", "SOURCE", "TARGET"]
    assert line.startswith("nightly  0 3 * * *  Asia/Tokyo  2")
    assert " 03:00:00+09:00  in code" in line
    assert line.endswith("tests.shop.reports.recount")


def test_they_are_paused_and_resumed(told):
    assert told(pause="nightly") == ["nightly: paused."]
    assert "  paused  " in told()[1]
    assert told(resume="nightly") == ["nightly: resumed."]
    assert "+09:00" in told()[1]


def test_one_is_run_now(told, database):
    assert told(run_now="nightly") == ["nightly: an attempt was enqueued."]
    assert Attempt.objects.using(database).get().schedule == "nightly"


def test_what_is_no_longer_declared_is_said_to_be_so(told, database):
    told()
    store_for(database).database.schedules.update(
        is_declared=False, declared_at=None, next_tick=None
    )
    schedules._in_code.clear()
    assert "never: no longer declared" in told()[1]


def test_an_unknown_name_is_a_wrong_usage(told):
    with pytest.raises(CommandError, match=r"--pause: name: 'nightley'.*nightly") as raised:
        told(pause="nightley")
    assert raised.value.returncode == 2


def test_a_timezone_that_is_gone_hides_no_schedule(told, at_home):
    told()
    store_for(at_home).database.schedules.update(source="admin", timezone="Mars/Base")
    schedules._in_code.clear()
    assert "Mars/Base" in told()[1]


def test_an_operators_times_and_back(told):
    assert told(override="nightly", every=5400) == ["nightly: changed by an operator."]
    assert told()[1].startswith("nightly  every 1:30:00 (code says 0 3 * * *)  Asia/Tokyo  2")
    assert told(back_to_code="nightly") == ["nightly: back to code."]
    assert told()[1].startswith("nightly  0 3 * * *  Asia/Tokyo  2")


@pytest.mark.parametrize(
    ("options", "told_of"),
    [
        ({"override": "nightly"}, "--override: cron: must be given"),
        ({"override": "nightly", "cron": "61 * * * *"}, "--override: cron: "),
        ({"override": "nightley", "every": 60}, "--override: name: 'nightley' is declared by no"),
        ({"back_to_code": "nightley"}, "--back-to-code: name: "),
    ],
)
def test_times_that_can_not_be_are_told(told, options, told_of):
    with pytest.raises(CommandError, match=told_of):
        told(**options)
