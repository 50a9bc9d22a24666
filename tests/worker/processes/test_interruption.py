"""Executions that a person interrupts: `request_cancel(interrupt=True)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from async_attempts import Attempt
from tests.faults.fleet import started, stopped
from tests.faults.ledger import Book
from tests.shop import hazards, interrupted
from tests.worker.helpers.attempts import enqueued, failures, stored
from tests.worker.helpers.processes import WorkerProcess, until

REASON = "wrong customer"


@pytest.fixture
def book(database: str, tmp_path: Any) -> Book:
    return Book(database, tmp_path)


def words(book: Book) -> list[str]:
    return [trace.word for trace in book.traces()]


def interrupt(attempt: Attempt, book: Book, worker: WorkerProcess) -> None:
    """Interrupt it once its target has begun."""
    until(lambda: "begun" in words(book), worker)
    attempt.request_cancel(REASON, interrupt=True)


@pytest.mark.parametrize(
    "target",
    [
        interrupted.work_for_long,
        interrupted.work_for_long_asynchronously,
        interrupted.tidy_up,
        interrupted.ask_for_more_time,
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_raised_in_the_target_and_the_process_goes_on(
    database, workers, book, target, threads
):
    attempt = enqueued(database, target, book.path)
    worker = started(workers, database, "--processes=1", f"--threads={threads}")
    interrupt(attempt, book, worker)
    until(lambda: stored(attempt).state == "expired", worker)
    found = stored(attempt)
    assert (found.reason, found.num_attempts, found.num_crashes) == (REASON, 1, 0)
    assert failures(attempt) == []
    assert ("tidied" in words(book)) is (target is interrupted.tidy_up)
    after = enqueued(database, hazards.leave_traces, book.path)
    until(lambda: stored(after).status == "succeeded", worker)
    assert len({trace.pid for trace in book.traces()}) == 1
    stopped(worker)


def test_one_that_ends_well_all_the_same_has_succeeded(database, workers, book):
    attempt = enqueued(database, interrupted.finish_all_the_same, book.path)
    worker = started(workers, database, "--processes=1", "--threads=1")
    interrupt(attempt, book, worker)
    until(lambda: stored(attempt).state == "succeeded", worker)
    assert words(book) == ["begun", "finished"]
    stopped(worker)


def test_one_that_ignores_it_is_ended_with_its_process_and_its_neighbour_is_performed_again(
    database, workers, book
):
    workers.settings |= {"TIMEOUT_GRACE": 1}
    attempt = enqueued(database, interrupted.ignore_it, book.path)
    worker = started(workers, database, "--processes=1", "--threads=2")
    until(lambda: "begun" in words(book), worker)
    neighbour = enqueued(database, hazards.wait_at_first, book.path, book.go)
    until(lambda: words(book).count("begun") == 2, worker)
    interrupt(attempt, book, worker)
    until(lambda: stored(attempt).state == "expired", worker)
    assert stored(attempt).reason == REASON
    assert "ignored" in words(book)
    Path(book.go).touch()
    until(lambda: stored(neighbour).status == "succeeded", worker)
    assert failures(neighbour) == []
    stopped(worker)


def test_only_the_execution_that_is_meant_is_interrupted(database, workers, book):
    options = {"limit_key": "one", "concurrency": 2}
    mine, other = (
        enqueued(database, interrupted.work_for_long, book.path, options=options) for _ in range(2)
    )
    worker = started(workers, database, "--processes=1", "--threads=2")
    until(lambda: words(book).count("begun") == 2, worker)
    mine.request_cancel(interrupt=True)
    until(lambda: stored(mine).state == "expired", worker)
    assert stored(mine).reason == "cancelled while it ran"
    assert stored(other).state == "running"
    other.request_cancel(interrupt=True)
    until(lambda: stored(other).state == "expired", worker)
    stopped(worker)
