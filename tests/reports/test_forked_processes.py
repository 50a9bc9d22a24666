"""What users of other task queues have reported of the processes that their tasks fork."""

from __future__ import annotations

import multiprocessing
import signal
import warnings

import pytest

from tests.shop import effects
from tests.worker.attempts import enqueued, failures, stored
from tests.worker.processes import workers

__all__ = ["workers"]


def square(number: int) -> int:
    return number * number


def use_a_pool() -> None:
    """Leaving the block sends SIGTERM to the pool's processes, and waits for their ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            processes = list(pool._pool)
            assert pool.map(square, [1, 2, 3]) == [1, 4, 9]
    for process in processes:
        process.join(5)
        codes = (-signal.SIGTERM, 0)
        assert process.exitcode in codes, f"a process of the pool goes on: {process.exitcode}"


def prepare() -> None:
    effects.action = use_a_pool


@pytest.mark.slow
@pytest.mark.only("sqlite", reason="nothing is asked of the database")
def test_a_pool_in_a_target_ends(database, workers):
    """SpaceCowMedia/commander-spellbook-backend, pull request 1204, of django-tasks' `db_worker`.

    A pool's processes had inherited the worker's handler of SIGTERM, and the task hung for ever at
    the end of the pool's block.
    """
    attempt = enqueued(database, effects.act, options={"timeout": 30, "max_attempts": 1})
    worker = workers.start("--drain", f"--database={database}", prepare=prepare)
    assert worker.exit_code() == 0, worker.output
    assert [failure.message for failure in failures(attempt)] == []
    assert stored(attempt).status == "succeeded"
