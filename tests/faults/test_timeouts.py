"""Guarantee 4: who doesn't end in time is ended, and nobody beside it loses anything."""

from __future__ import annotations

import pytest

from tests.faults.conftest import MAX_CRASHES
from tests.faults.fleet import ALONE, all_have_ended, drained, started, stopped
from tests.shop import hazards
from tests.worker.helpers.attempts import enqueued, failures, stored
from tests.worker.helpers.processes import until

TIMEOUT = {"timeout": 1, "priority": 9}
GRACE = 1

REACHABLE = [hazards.loop, hazards.sleep_asynchronously]
UNREACHABLE = [
    hazards.loop_and_ignore_everything,
    hazards.hang_in_c,
    hazards.ignore_cancellation,
    hazards.hang_in_the_shared_thread,
    hazards.abandon_a_call_in_the_shared_thread,
]
STARVING = [
    (hazards.hang_in_c_and_starve_all, hazards.leave_traces),
    (hazards.block_the_event_loop, hazards.leave_traces_asynchronously),
]
STARVING_AGAIN_AND_AGAIN = [
    (hazards.match_for_ever, hazards.leave_traces),
    (hazards.block_the_event_loop_again, hazards.leave_traces_asynchronously),
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


def neighbours_of(database, starving, victim, book):
    """Some that begin beside it, and some behind it; each may begin and fail only once."""
    once = {"timeout": 1.5, "max_attempts": 1}
    beside = [
        enqueued(database, victim, book.path, 0.3, options={**once, "priority": 10})
        for _ in range(2)
    ]
    blamed = enqueued(database, starving, book.path, options={**TIMEOUT, "max_attempts": 1})
    behind = [enqueued(database, victim, book.path, 0.1, options=once) for _ in range(3)]
    return blamed, [*beside, *behind]


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


@pytest.mark.slow
@pytest.mark.parametrize(("starving", "victim"), STARVING)
def test_who_starves_its_process_uses_up_no_execution_of_a_neighbour(
    database, mortals, book, starving, victim
):
    blamed, neighbours = neighbours_of(database, starving, victim, book)
    book.promise([blamed, *neighbours])
    worker = started(mortals, database, "--processes=1", "--threads=4")
    until(lambda: all_have_ended(database), worker)
    # Its second execution is a suspect's.
    assert (stored(blamed).status, stored(blamed).num_crashes) == ("succeeded", 0)
    assert [failure.kind for failure in failures(blamed)] == ["crash"]
    for neighbour in neighbours:
        assert stored(neighbour).status == "succeeded"
        assert {failure.kind for failure in failures(neighbour)} <= {"crash"}
        assert len(failures(neighbour)) <= 1
    stopped(worker)


@pytest.mark.slow
@pytest.mark.parametrize(("starving", "victim"), STARVING_AGAIN_AND_AGAIN)
def test_who_starves_its_process_each_time_fails_in_the_end_and_no_neighbour_does(
    database, mortals, book, starving, victim
):
    blamed, neighbours = neighbours_of(database, starving, victim, book)
    book.promise(neighbours)
    book.promise([blamed], end="failed")
    worker = started(mortals, database, "--processes=1", "--threads=2")
    until(lambda: all_have_ended(database), worker)
    assert stored(blamed).status == "failed"
    assert {failure.kind for failure in failures(blamed)} <= {"crash", "timeout"}
    assert [stored(neighbour).status for neighbour in neighbours] == ["succeeded"] * 5
    assert len(book.of(blamed)) <= MAX_CRASHES
    stopped(worker)


@pytest.mark.slow
def test_what_breaks_the_event_loop_ends_the_process_and_nobody_is_counted(database, mortals, book):
    neighbour = enqueued(database, hazards.leave_traces_asynchronously, book.path, 0.5)
    blamed = enqueued(database, hazards.break_the_event_loop_once, book.path)
    book.promise([neighbour, blamed])
    worker = started(mortals, database, "--processes=1", "--threads=2")
    until(lambda: all_have_ended(database), worker)
    for attempt in map(stored, [neighbour, blamed]):
        assert (attempt.status, attempt.num_attempts, attempt.num_crashes) == ("succeeded", 1, 0)
        assert failures(attempt) == []
    assert len({trace.pid for trace in book.of(blamed)}) == 2
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
