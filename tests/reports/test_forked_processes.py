"""What users of other task queues have reported of the processes that their tasks fork."""

from __future__ import annotations

import multiprocessing
import os
import time
import warnings

import pytest

from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, failures, stored
from tests.worker.helpers.processes import workers

__all__ = ["workers"]


def begin(told: int) -> None:
    os.write(told, b"begun")
    time.sleep(600)


def use_a_pool() -> None:
    """Leaving the block sends SIGTERM to the pool's processes, and waits for their ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        hears, told = os.pipe()
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply_async(begin, [told])
            assert os.read(hears, 5) == b"begun"


def prepare() -> None:
    effects.action = use_a_pool


@pytest.mark.slow
@pytest.mark.only("sqlite", reason="nothing is asked of the database")
def test_a_pool_in_a_target_ends(database, workers):
    """SpaceCowMedia/commander-spellbook-backend, pull request 1204, of django-tasks' `db_worker`.

    A pool's processes had inherited the worker's handler of SIGTERM, and the task hung for ever at
    the end of the pool's block.
    """
    attempt = enqueued(database, effects.act, options={"timeout": 10, "max_attempts": 1})
    worker = workers.start("--drain", f"--database={database}", prepare=prepare)
    assert worker.exit_code() == 0, worker.output
    assert [failure.message for failure in failures(attempt)] == []
    assert stored(attempt).status == "succeeded"
