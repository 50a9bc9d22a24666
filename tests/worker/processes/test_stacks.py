"""SIGUSR1: what is in flight, and what every thread does."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from tests.shop import effects, hazards
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import WorkerProcess, lines, until


def begun(database, workers, path, target, *arguments, number=1):
    """A worker that has begun so many attempts of this target."""
    attempts = [enqueued(database, target, str(path), *arguments) for _ in range(number)]
    worker = workers.start(f"--database={database}")
    until(lambda: len(lines(path)) == number, worker)
    return worker, attempts


def stacks_of_compute(worker: WorkerProcess) -> int:
    return worker.output.count("in compute")


def has_told_more(worker: WorkerProcess, told: int) -> bool:
    return stacks_of_compute(worker) > told


def all_told(worker: WorkerProcess, *texts: str) -> bool:
    return all(text in worker.output for text in texts)


def test_what_is_in_flight_is_told_with_the_stacks_of_all_threads(database, workers, tmp_path):
    go = str(tmp_path / "go")
    worker, [attempt] = begun(database, workers, tmp_path / "began", effects.wait_for, go)
    worker.signal(signal.SIGUSR1)
    in_flight = f"1 in flight, begun: {attempt.pk}"
    until(lambda: all_told(worker, in_flight, "wait_for", "go_round", "supervisor.py"), worker)
    assert "/began" not in worker.output
    assert stored(attempt).state == "running"


@pytest.mark.only("sqlite", reason="no database takes part")
def test_threads_at_work_survive_that_their_stacks_are_told(database, workers, tmp_path):
    path, go = tmp_path / "path", tmp_path / "go"
    worker, attempts = begun(database, workers, path, hazards.compute, str(go), number=3)
    for _ in range(50):
        told = stacks_of_compute(worker)
        worker.signal(signal.SIGUSR1)
        until(partial(has_told_more, worker, told), worker)
    go.touch()
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output
    assert [stored(attempt).num_attempts for attempt in attempts] == [1, 1, 1]
    assert {stored(attempt).status for attempt in attempts} == {"succeeded"}


@pytest.mark.only("sqlite", reason="no database takes part")
def test_a_child_in_which_no_thread_can_run_has_its_stacks_told_too(database, workers, tmp_path):
    worker, _ = begun(database, workers, tmp_path / "path", hazards.hang_in_c_and_starve_all)
    worker.signal(signal.SIGUSR1)
    until(partial(all_told, worker, "in wait_for_oneself", "in _go_round"), worker)
