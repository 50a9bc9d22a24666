"""One malformed value stops nobody: its attempt fails, and the worker goes on at once."""

from __future__ import annotations

import logging
import time

import pytest
from django.core.management import CommandError
from django.db import DataError, OperationalError

from async_attempts import Arguments, Attempt
from async_attempts.models import DatabaseNow, Schedule, Worker
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from async_attempts.store.malformed_rows import Malformed
from async_attempts.worker.execution.announcer import AtOnce
from async_attempts.worker.maintenance.maintenance import Maintenance
from async_attempts.worker.processes import reaper
from async_attempts.worker.processes.reaper import ChildExit
from tests.shop import effects
from tests.store.malformed import moments, put_raw, without_checks
from tests.store.refusals import CLAIMS, refused
from tests.store.rows import registered
from tests.worker.helpers.attempts import drain, enqueued, put, states, stored


@pytest.fixture
def unchecked(database):
    """A database whose tables were made without the checks."""
    with without_checks(database):
        yield database


def drained(database):
    """Drain, and fail unless that is done at once: nobody waits as for an outage."""
    began = time.monotonic()
    drain(database)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("column", ["scheduled_at", "expires_at", "started_at", "created_at"])
@pytest.mark.parametrize("status", ["pending", "scheduled"])
def test_a_moment_that_nobody_can_read_stops_no_queue(unchecked, column, status):
    for value in moments(unchecked):
        bad, good = enqueued(unchecked, effects.record), enqueued(unchecked, effects.record)
        put(bad, status=status)
        put_raw(unchecked, bad.pk, **{column: value})
        drained(unchecked)
        assert stored(good).status == "succeeded"


@pytest.mark.parametrize(
    ("column", "value"), [("num_attempts", "2147483647"), ("claim_seq", "9223372036854775807")]
)
def test_a_number_at_its_end_stops_no_queue(unchecked, column, value):
    bad, good = enqueued(unchecked, effects.record), enqueued(unchecked, effects.record)
    put_raw(unchecked, bad.pk, **{column: value})
    drained(unchecked)
    assert stored(good).status == "succeeded"
    assert stored(bad).status in ("failed", "succeeded")


@pytest.mark.only("sqlite", reason="the others let no such value into a column")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("priority", "'x'"),
        ("priority", "x'00'"),
        ("target", "CAST(x'ff' AS TEXT)"),
        ("limit_key", "CAST(x'ff' AS TEXT)"),
    ],
)
def test_a_value_of_another_type_stops_no_queue(database, column, value):
    bad, good = enqueued(database, effects.record), enqueued(database, effects.record)
    put_raw(database, bad.pk, **{column: value})
    drained(database)
    rows = Attempt.objects.using(database)
    assert sorted(rows.values_list("status", flat=True)) == ["failed", "succeeded"]
    assert stored(good).status == "succeeded"


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's numbers have no end")
@pytest.mark.parametrize(
    ("column", "value"), [("num_attempts", "2147483647"), ("claim_seq", "9223372036854775807")]
)
def test_it_fails_and_says_why(unchecked, caplog, column, value):
    bad = enqueued(unchecked, effects.record)
    put_raw(unchecked, bad.pk, **{column: value})
    with caplog.at_level(logging.ERROR, "async_attempts"):
        drained(unchecked)
    assert (stored(bad).status, stored(bad).reason) == ("failed", f"malformed: {column}")
    assert f"malformed: {column}" in caplog.text


@pytest.mark.only("sqlite", reason="the others have a type for ids")
@pytest.mark.parametrize("value", ["'5'", f"'{'g' * 32}'"])
def test_an_id_that_is_none_stops_no_queue(unchecked, value):
    bad, good = enqueued(unchecked, effects.record), enqueued(unchecked, effects.record)
    put_raw(unchecked, bad.pk, id=value)
    drained(unchecked)
    assert stored(good).status == "succeeded"
    assert states(unchecked) == ["succeeded", "failed"]


def test_a_schedule_without_a_tick_that_can_be_read_keeps_no_other_from_ticking(unchecked):
    schedules = Schedule._base_manager.using(unchecked)
    for value in moments(unchecked):
        given = {"cron": "* * * * *", "timezone": "UTC", "target": "tests.shop.effects.record"}
        bad, good = (Schedule(name=f"{n} {value}", **given) for n in ("bad", "good"))
        for schedule in (bad, good):
            schedule.seal(Arguments())
            schedule.write(unchecked, None)
        schedules.filter(pk=good.pk).update(next_tick=DatabaseNow())
        put_raw(unchecked, bad.pk, Schedule, next_tick=value)
        drained(unchecked)
        good.refresh_from_db()
        assert good.last_attempt is not None
        schedules.all().delete()


def test_what_a_dead_worker_held_is_taken_back_past_a_malformed_row(unchecked):
    store = store_for(unchecked)
    for value in moments(unchecked):
        dead = registered(store)
        bad, good = enqueued(unchecked, effects.record), enqueued(unchecked, effects.record)
        store.claims.claim(dead.pk, ["default"], 5)
        put_raw(unchecked, bad.pk, started_at=value)
        child_exit = ChildExit(dead.pk, "ended by SIGKILL", is_blameless=True)
        assert reaper._take_back(store, child_exit, AtOnce()) == 0
        assert (stored(good).state, stored(good).num_attempts) == ("pending", 0)
        store.database.attempts.filter(pk=good.pk).delete()


def test_a_reaper_tells_what_it_set_aside_and_outlives_an_outage(database, monkeypatch, caplog):
    store = store_for(database)
    dead = registered(store)
    good = enqueued(database, effects.record)
    store.claims.claim(dead.pk, ["default"], 5)
    reap, set_aside = (
        type(store.workers).reap,
        iter([OperationalError(), [Malformed("attempt", 7, "bad")]]),
    )
    errors = iter([DataError(), DataError()])

    def first_failing(self, *args):
        if error := next(errors, None):
            raise error
        return reap(self, *args)

    def first_away(*_):
        if isinstance(found := next(set_aside), Exception):
            raise found
        return found

    monkeypatch.setattr(type(store.workers), "reap", first_failing)
    monkeypatch.setattr(type(store.malformed_rows), "set_aside", first_away)
    child_exit = ChildExit(dead.pk, "ended by SIGKILL", is_blameless=True)
    assert reaper._take_back(store, child_exit, AtOnce()) == 0
    assert "malformed rows can't be set aside: OperationalError" in caplog.text
    assert "attempt 7 was mended: bad" in caplog.text
    assert stored(good).state == "pending"


def test_a_worker_with_a_lease_that_cannot_be_read_is_rescued(unchecked):
    store = store_for(unchecked)
    for value in moments(unchecked):
        other = registered(store)
        good = enqueued(unchecked, effects.record)
        store.claims.claim(other.pk, ["default"], 5)
        put_raw(unchecked, other.pk, Worker, lease=value)
        store.malformed_rows.set_aside()
        store.database.workers.filter(pk=other.pk).update(lease=seconds_from_now(-1))
        assert Maintenance(store).store.workers.rescue()
        assert stored(good).num_crashes == 1
        store.database.attempts.filter(pk=good.pk).update(num_crashes=0, claimed_by=None)
        drained(unchecked)


def test_an_error_that_is_no_rows_fault_ends_the_worker_as_ever(database, monkeypatch):
    enqueued(database, effects.record)

    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(type(store_for(database).claims), "claim", broken)
    with pytest.raises(ZeroDivisionError):
        drain(database)
    assert states(database) == ["pending"]


def test_a_database_that_refuses_all_claims_fails_no_attempt(database):
    attempt = enqueued(database, effects.record)
    with refused(store_for(database), CLAIMS), pytest.raises(CommandError):
        drain(database)
    assert stored(attempt).state == "pending"
    drained(database)
    assert stored(attempt).status == "succeeded"
