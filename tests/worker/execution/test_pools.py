"""A pool of connections, with threads of its own, and children that are forked beside it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest
from django.db import connections

from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import enqueued, states
from tests.worker.helpers.ended_sessions import end_session, session_id
from tests.worker.helpers.processes import until

pytestmark = pytest.mark.only("postgresql", reason="only psycopg has pools")

POOL = {"min_size": 1, "max_size": 8, "timeout": 20}


def have_ended(database: str) -> bool:
    """Whether all attempts have."""
    return set(states(database)) <= {"succeeded", "failed"}


def use_the_pool() -> None:
    """Have one, with a connection that is used, before there is any child."""
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("SELECT 1")
    assert connections["postgresql"].settings_dict["OPTIONS"]["pool"]


@pytest.fixture
def pooled(database, workers):
    options = connections[database].settings_dict["OPTIONS"]
    workers.databases[database] = {"OPTIONS": {**options, "pool": POOL}}
    return workers


def test_children_have_pools_of_their_own(database, pooled):
    for _ in range(60):
        enqueued(database, effects.write_row, database)
    flags = ("--drain", "--processes=2", "--threads=3", f"--database={database}")
    worker = pooled.start(*flags, prepare=use_the_pool)
    assert worker.exit_code() == 0, worker.output
    assert set(states(database)) == {"succeeded"}
    assert Ledger.objects.using(database).count() == 60


def test_a_child_that_died_is_replaced_by_one_that_works(database, pooled, tmp_path):
    path = str(tmp_path / "path")
    enqueued(database, effects.write_row_and_die_once, database, path)
    worker = pooled.start("--poll-interval=0.05", f"--database={database}", prepare=use_the_pool)
    until(lambda: states(database) == ["succeeded"], worker)
    assert Ledger.objects.using(database).count() == 1


def hold_one() -> None:
    """Let sync targets hold a connection for a while, and async ones ask for one, too."""

    def hold(*args: object) -> Any:
        if args:
            return Ledger.objects.using("postgresql").acount()
        session_id("postgresql")
        time.sleep(0.05)
        return None

    effects.action = hold


@pytest.mark.slow
def test_async_targets_have_their_turn_while_all_threads_perform(database, pooled):
    pooled.databases[database]["OPTIONS"]["pool"] = {"min_size": 2, "timeout": 5}
    for _ in range(20):
        enqueued(database, effects.act, options={"max_attempts": 1})
    for _ in range(4):
        enqueued(database, effects.act_asynchronously, 1, options={"max_attempts": 1})
    flags = ("--drain", "--threads=2", f"--database={database}")
    worker = pooled.start(*flags, prepare=hold_one)
    assert worker.exit_code() == 0, worker.output
    assert set(states(database)) == {"succeeded"}
    assert "has 2 connections, and up to 3 threads" in worker.output


@pytest.mark.slow
def test_idle_threads_keep_none(database, pooled):
    pooled.databases[database]["OPTIONS"]["pool"] = {"min_size": 1, "timeout": 5}
    worker = pooled.start("--threads=3", f"--database={database}", prepare=hold_one)
    for _ in range(4):
        # Each time others are idle, the thread of the async ORM too.
        for target, args in ((effects.act, ()), (effects.act_asynchronously, (1,))):
            enqueued(database, target, *args, options={"max_attempts": 1})
            until(lambda: have_ended(database), worker)
    assert set(states(database)) == {"succeeded"}


def ask() -> None:
    effects.action = partial(session_id, "postgresql")


@pytest.mark.slow
def test_one_that_the_server_ended_in_the_pool_is_replaced(database, pooled):
    worker = pooled.start("--threads=1", f"--database={database}", prepare=ask)
    for _ in range(3):
        last = enqueued(database, effects.act, options={"max_attempts": 1, "keep_result": True})
        until(lambda: have_ended(database), worker)
        end_session(database, last.result(timeout=1))
    assert states(database) == ["succeeded"] * 3
