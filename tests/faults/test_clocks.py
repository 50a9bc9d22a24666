"""Guarantee 6: skewed worker clocks change nothing."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, tzinfo
from functools import partial
from unittest import mock

import pytest
from django.utils import timezone

from async_attempts.models import Worker
from tests.faults.fleet import started, states_of_workers, stopped
from tests.shop import hazards
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import until

pytestmark = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite's clock is that of the processes that use it"
)

HOUR = 3600.0
LEASE = 4.0


def skew(seconds):
    """Let this process, and those below it, think that it is so much later."""
    true_time, true_ns = time.time, time.time_ns
    time.time = lambda: true_time() + seconds
    time.time_ns = lambda: true_ns() + int(seconds * 1e9)

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None):
            return datetime.now(tz) + timedelta(seconds=seconds)

    mock.patch.object(timezone, "datetime", Skewed).start()


def test_they_change_neither_what_is_due_nor_who_is_dead(database, mortals, book):
    mortals.settings["LEASE"] = LEASE
    skews = [HOUR, -HOUR, 0.0]
    workers = [
        started(mortals, database, "--threads=2", prepare=partial(skew, seconds))
        for seconds in skews
    ]
    until(lambda: Worker.objects.using(database).filter(state="live").count() == 3, *workers)
    due = [enqueued(database, hazards.leave_traces, book.path, 0.01) for _ in range(60)]
    fails = [enqueued(database, hazards.fail_at_first, book.path) for _ in range(10)]
    # Long enough that whoever is an hour ahead has looked for the dead more than once.
    soon = enqueued(
        database,
        hazards.leave_traces,
        book.path,
        options={"scheduled_at": timedelta(seconds=LEASE + 2)},
    )
    later = enqueued(
        database,
        hazards.leave_traces,
        book.path,
        options={"scheduled_at": timedelta(seconds=HOUR / 2)},
    )
    book.promise([*due, *fails, soon])
    until(lambda: stored(soon).status == "succeeded", *workers)

    assert stored(later).status == "scheduled"
    assert states_of_workers(database) == {"live"}
    for worker in workers:
        stopped(worker)
    assert {trace.claim_seq for trace in book.traces() if trace.attempt_id != soon.pk} <= {1, 2}
    for attempt in map(stored, due):
        assert (attempt.claim_seq, attempt.num_attempts) == (1, 1)
        assert attempt.created_at <= attempt.started_at <= attempt.completed_at
        assert attempt.completed_at - attempt.created_at < timedelta(minutes=5)
    later.expire("the test is over")
    book.promise([later], end="expired")
    book.balance()
