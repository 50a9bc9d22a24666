"""Guarantee 4: who doesn't end in time is ended, and nobody beside it loses anything."""

from __future__ import annotations

import pytest

from tests.faults.fleet import ALONE, all_have_ended, drained, started, stopped
from tests.shop import hazards
from tests.worker.attempts import enqueued, failures, stored
from tests.worker.processes import until

TIMEOUT = {"timeout": 1, "priority": 9}
GRACE = 1

REACHABLE = [hazards.loop, hazards.sleep_asynchronously]
UNREACHABLE = [
    hazards.loop_and_ignore_everything,
    hazards.hang_in_c,
    hazards.hang_in_c_and_starve_all,
    hazards.ignore_cancellation,
    hazards.block_the_event_loop,
]


@pytest.fixture(autouse=True)
def short_grace(mortals):
    """The lease is long: only the supervisor can have ended anything."""
    mortals.settings |= {"LEASE": 60, "TIMEOUT_GRACE": GRACE}


def the_failure_is_a_timeout(attempt):
    (failure,) = failures(attempt)
    assert failure.kind == "timeout"
    assert failure.error_class.endswith("AttemptTimeout")
    return failure


@pytest.mark.parametrize("target", REACHABLE)
@pytest.mark.parametrize("threads", [1, 4])
def test_an_exception_ends_who_can_be_reached_and_the_process_goes_on(
    database, mortals, book, target, threads
):
    slow = enqueued(database, target, book.path, options=TIMEOUT)
    worker = started(mortals, database, "--processes=1", f"--threads={threads}")
    until(lambda: stored(slow).status == "succeeded", worker)
    the_failure_is_a_timeout(slow)
    assert (stored(slow).num_attempts, stored(slow).num_crashes) == (2, 0)
    assert len({trace.pid for trace in book.traces()}) == 1
    stopped(worker)


@pytest.mark.parametrize("target", UNREACHABLE)
def test_its_process_ends_who_cannot_be_reached_and_the_neighbours_lose_no_count(
    database, mortals, book, target
):
    neighbour = enqueued(database, hazards.wait_at_first, book.path, book.go)
    stuck = enqueued(database, target, book.path, options=TIMEOUT)
    unbegun = [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
    book.promise([neighbour, *unbegun])
    worker = started(mortals, database, "--processes=1", "--threads=2")
    until(lambda: failures(stuck), worker)
    book.let_go()
    until(lambda: all_have_ended(database), worker)
    assert stored(stuck).status == "succeeded"
    the_failure_is_a_timeout(stuck)
    first, second = book.of(stuck)[:2]
    assert first.pid != second.pid
    for attempt in map(stored, [neighbour, *unbegun]):
        assert (attempt.status, attempt.num_attempts) == ("succeeded", 1)
        assert (attempt.num_crashes, failures(attempt)) == (0, [])
    stopped(worker)


@pytest.mark.parametrize("target", [hazards.loop_and_ignore_everything, hazards.hang_in_c])
def test_the_main_thread_of_a_child_is_no_exception(database, mortals, book, target):
    stuck = enqueued(database, target, book.path, options=TIMEOUT)
    drained(mortals, database, *ALONE)
    assert stored(stuck).status == "succeeded"
    the_failure_is_a_timeout(stuck)


def test_what_a_timeout_ended_too_often_fails_for_good(database, mortals, book):
    options = {**TIMEOUT, "max_attempts": 1}
    stuck = enqueued(database, hazards.hang_in_c, book.path, options=options)
    book.promise([stuck], end="failed")
    drained(mortals, database)
    assert stored(stuck).status == "failed"
    the_failure_is_a_timeout(stuck)
    book.balance()
