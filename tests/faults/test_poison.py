"""Guarantee 4: an attempt that kills its process starts at most MAX_CRASHES times, and its
neighbours lose nothing.
"""

from __future__ import annotations

import signal

import pytest

from tests.faults.conftest import MAX_CRASHES
from tests.faults.fleet import ALONE, drained, processes, started
from tests.faults.leases import let_leases_run_out
from tests.shop import hazards, once
from tests.worker.helpers.attempts import enqueued, failures, stored

DEATHS_OF_A_CHILD = sorted(hazards.DEATHS.keys() - {"group"})


@pytest.fixture
def neighbourhood(database, book):
    """Enqueues a poison pill that kills in this way among three neighbours before and behind."""

    def enqueue_all(how):
        neighbours = [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
        poison = enqueued(database, hazards.die, book.path, how)
        neighbours += [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
        book.promise(neighbours)
        book.promise([poison], end="failed")
        return poison, neighbours

    return enqueue_all


def starts(book, attempt):
    return [(trace.claim_seq, trace.num_attempts) for trace in book.of(attempt)]


@pytest.mark.parametrize("how", DEATHS_OF_A_CHILD)
def test_it_fails_and_the_unbegun_around_it_lose_nothing(
    database, mortals, neighbourhood, book, how
):
    mortals.settings["LEASE"] = 60
    poison, neighbours = neighbourhood(how)
    drained(mortals, database, *ALONE)
    poison = stored(poison)
    assert (poison.status, poison.num_crashes) == ("failed", MAX_CRASHES)
    assert starts(book, poison) == [(number, number) for number in range(1, MAX_CRASHES + 1)]
    assert [failure.kind for failure in failures(poison)] == ["crash"] * MAX_CRASHES
    for neighbour in map(stored, neighbours):
        assert (neighbour.status, neighbour.num_crashes) == ("succeeded", 0)
    for unbegun in map(stored, neighbours[3:]):
        assert (unbegun.num_attempts, failures(unbegun)) == (1, [])
    book.balance()


def test_it_fails_no_neighbour_that_runs_beside_it(database, mortals, neighbourhood, book):
    mortals.settings["LEASE"] = 60
    poison, neighbours = neighbourhood("out of memory")
    drained(mortals, database, processes(database), "--threads=4")
    assert (stored(poison).status, len(starts(book, poison))) == ("failed", MAX_CRASHES)
    for neighbour in map(stored, neighbours):
        assert (neighbour.status, neighbour.num_crashes) == ("succeeded", 0)
        # It may have been beside the poison once; a suspect is alone.
        assert len(failures(neighbour)) <= 1
    book.balance()


def test_it_fails_though_it_takes_its_supervisor_along_each_time(
    database, mortals, neighbourhood, book
):
    poison, neighbours = neighbourhood("group")
    for _ in range(MAX_CRASHES):
        worker = started(mortals, database, "--drain", *ALONE)
        assert worker.exit_code() == -signal.SIGKILL, worker.output
        let_leases_run_out(database)
    drained(mortals, database, *ALONE)
    poison = stored(poison)
    assert (poison.status, poison.num_crashes) == ("failed", MAX_CRASHES)
    assert len(starts(book, poison)) == MAX_CRASHES
    assert [failure.kind for failure in failures(poison)] == ["lease"] * MAX_CRASHES
    for neighbour in map(stored, neighbours):
        assert (neighbour.status, neighbour.num_crashes) == ("succeeded", 0)
    book.balance()


def test_who_asks_for_too_much_memory_fails_and_its_process_lives(database, mortals, book):
    limit = 64 * 2**30
    greedy = enqueued(database, hazards.exhaust_memory, book.path, limit)
    next_one = enqueued(database, hazards.leave_traces, book.path)
    drained(mortals, database, *ALONE)
    assert stored(greedy).status == "failed"
    assert [failure.error_class for failure in failures(greedy)] == ["MemoryError"]
    assert stored(next_one).status == "succeeded"
    assert len({trace.pid for trace in book.traces()}) == 1


def test_one_that_may_begin_once_does_so_once(database, mortals, book):
    mortals.settings["LEASE"] = 60
    poison = enqueued(database, once.die_once, book.path, "out of memory")
    book.promise([poison], end="failed")
    drained(mortals, database, *ALONE)
    assert (stored(poison).status, starts(book, poison)) == ("failed", [(1, 1)])
    book.balance()
