"""What a worker counts of its executions, and when it writes that down."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import OperationalError

from async_attempts import Expire, Fail, Snooze
from async_attempts.models import Tally
from async_attempts.store import store_for
from async_attempts.worker.execution.outcomes import SUCCEEDED
from async_attempts.worker.execution.runner import Execution
from async_attempts.worker.loop import statistics
from async_attempts.worker.maintenance.maintenance import Maintenance
from tests.shop import effects
from tests.store.rows import claim_of
from tests.worker.helpers.attempts import drain, enqueued, put, raising
from tests.worker.helpers.processes import until

PREFIX = "tests.shop.effects"


def counted(database):
    """How many, by target and outcome."""
    found: Counter[tuple[str, str]] = Counter()
    for row in Tally._base_manager.using(database):
        found[row.target.removeprefix(f"{PREFIX}."), row.outcome] += row.count
    return dict(found)


@pytest.fixture
def writing(database, monkeypatch):
    """What is written to the table of tallies is put here."""
    written = []
    statistics = type(store_for(database).statistics)
    monkeypatch.setattr(statistics, "add_tallies", lambda _, c: written.append(c) if c else None)
    return written


@pytest.fixture
def counting(database):
    """Counts as a worker does, and has an execution to count."""
    counting = statistics.Statistics(store_for(database))
    claim = claim_of(store_for(database), enqueued(database, effects.record))
    return counting, Execution(claim, SUCCEEDED)


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [(LookupError(), "retried"), (Fail("so"), "failed"), (Expire("so"), "expired")],
    ids=["retried", "failed", "expired"],
)
def test_each_outcome_is_counted(database, acting, raised, outcome):
    for _ in range(2):
        enqueued(database, effects.record)
    acting(raising(raised))
    enqueued(database, effects.act)
    drain(database)
    assert counted(database) == {("record", "succeeded"): 2, ("act", outcome): 1}


def test_each_execution_counts(database, acting):
    acting(raising(LookupError()))
    enqueued(database, effects.act_thrice)
    drain(database)
    drain(database)
    assert counted(database) == {("act_thrice", "retried"): 2, ("act_thrice", "failed"): 1}


def test_what_is_only_put_off_is_not_counted(database, acting):
    acting(raising(Snooze(60)))
    enqueued(database, effects.act)
    drain(database)
    assert counted(database) == {}


def slow():
    time.sleep(0.05)


def slow_async():
    return asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("target", "action"),
    [
        (effects.act, slow),
        (effects.act_atomically, slow),
        (effects.act_asynchronously, slow_async),
    ],
    ids=["leased", "atomic", "async"],
)
def test_the_times_are_added_up(database, acting, target, action):
    acting(action)
    attempt = enqueued(database, target)
    put(attempt, scheduled_at=attempt.scheduled_at - timedelta(seconds=100))
    drain(database)
    row = Tally._base_manager.using(database).get()
    assert 0.05 <= row.run_seconds < 5
    assert 100 <= row.wait_seconds < 130
    assert row.to_1ms + row.to_3ms + row.to_10ms + row.to_30ms == 0


@pytest.mark.only("postgresql", reason="an event loop is the same everywhere")
def test_those_of_an_event_loop_too(database, workers):
    enqueued(database, effects.record_async)
    workers.start("--database", database, "--drain", "--processes", "1").exit_code()
    assert counted(database) == {("record_async", "succeeded"): 1}


def test_an_idle_worker_writes_nothing(database, writing):
    drain(database)
    assert writing == []


def test_workers_forget_what_is_old(database, counting):
    counting, execution = counting
    store = store_for(database)
    for days in (31, 29):
        counting.count([execution], ())
        counting.flush()
        newest = store.database.tallies.order_by("-pk")[:1].get()
        store.database.tallies.filter(pk=newest.pk).update(
            minute=newest.minute - timedelta(days=days)
        )
    assert store.database.tallies.count() == 2
    Maintenance(store).prune()
    [kept] = store.database.tallies.values_list("minute", flat=True)
    assert store.database.now() - kept < timedelta(days=30)


def test_a_lost_claim_is_not_counted(database, acting):
    attempt = enqueued(database, effects.act)
    acting(lambda: attempt.fail("by a person"))
    drain(database)
    assert counted(database) == {}


def test_it_is_written_once_in_a_while(counting, writing, monkeypatch):
    moment = [0.0]
    monkeypatch.setattr(statistics, "now", lambda: moment[0])
    counting, execution = counting
    for moment[0] in (1000.0, 1006.0, 1012.0, 1018.0, 1029.0):
        counting.count([execution], ())
        counting.flush_if_due()
    assert [[numbers[0] for numbers in written.values()] for written in writing] == [[3], [2]]


def test_what_can_not_be_written_costs_no_attempt_and_is_kept(
    database, counting, monkeypatch, caplog
):
    counting, execution = counting
    counting.count([execution], ())

    def broken(*_):
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(type(store_for(database).statistics), "add_tallies", broken)
        counting.flush()
    assert "could not be written yet: OperationalError" in caplog.text
    counting.flush_if_due()
    assert counted(database) == {}
    for _ in range(2):
        counting.flush()
        assert counted(database) == {("record", "succeeded"): 1}


@pytest.mark.only("postgresql", reason="the interval is the same everywhere")
def test_a_worker_that_goes_on_writes_now_and_then(database, workers):
    worker = workers.start("--database", database, "--processes", "1")
    for _ in range(3):
        enqueued(database, effects.record)
    until(lambda: counted(database) == {("record", "succeeded"): 3}, worker)
