"""One connection for each thread, none left behind, none left broken to the next target."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections, transaction

from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import enqueued, states, stored
from tests.worker.helpers.executing import drain_in_threads
from tests.worker.helpers.processes import PATIENCE, until

THREADS = 4
SESSIONS = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND backend_type = 'client backend'"
)

postgresql = pytest.mark.only("postgresql", reason="its sessions can be counted")


def sessions(database: str) -> set[int]:
    """The server's processes; one of an earlier test may still be about to end."""
    with connections[database].cursor() as cursor:
        cursor.execute(SESSIONS)
        return {pid for (pid,) in cursor.fetchall()}


def ask(database: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT 1")


@pytest.fixture
def used(database: str, acting: Callable[..., None]) -> list[object]:
    """The driver's connection that each of the targets has used."""
    used: list[object] = []

    def use() -> None:
        ask(database)
        used.append(connections[database].connection)

    acting(use)
    return used


def test_each_thread_has_one_of_its_own(database, acting):
    together = threading.Barrier(THREADS)
    used = []

    def use() -> None:
        ask(database)
        used.append(connections[database].connection)
        together.wait(PATIENCE)

    acting(use)
    for _ in range(2 * THREADS):
        enqueued(database, effects.act)
    drain_in_threads(database, threads=THREADS)
    assert len({id(connection) for connection in used}) == THREADS
    assert set(states(database)) == {"succeeded"}


@postgresql
def test_none_is_left_when_a_worker_has_ended(database, acting):
    acting(lambda: ask(database))
    before = sessions(database)
    for _ in range(20):
        enqueued(database, effects.act)
    drain_in_threads(database, threads=THREADS)
    assert set(states(database)) == {"succeeded"}
    until(lambda: sessions(database) <= before)


def count_rows_asynchronously() -> None:
    effects.action = Ledger.objects.using("postgresql").acount


@postgresql
def test_none_is_left_of_async_targets_when_a_worker_has_ended(database, workers):
    before = sessions(database)
    for _ in range(20):
        enqueued(database, effects.act_asynchronously)
    worker = workers.start("--drain", f"--database={database}", prepare=count_rows_asynchronously)
    assert worker.exit_code() == 0, worker.output
    assert set(states(database)) == {"succeeded"}
    until(lambda: sessions(database) <= before)


@postgresql
def test_a_worker_has_no_more_than_its_threads_need(database, workers, tmp_path):
    before = sessions(database)
    worker = workers.start(f"--threads={THREADS}", f"--database={database}")
    for _ in range(5):
        for _ in range(20):
            enqueued(database, effects.write_row, database)
        until(lambda: set(states(database)) == {"succeeded"}, worker)
    # Beside the performers': the supervisor's, the loop's, the listener's.
    assert len(sessions(database) - before) <= THREADS + 3


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's connections don't break")
def test_one_that_a_target_broke_is_not_left_to_the_next(database, acting):
    def break_it() -> None:
        ask(database)
        connections[database].connection.close()
        ask(database)

    acting(break_it)
    broken = enqueued(database, effects.act)
    after = enqueued(database, effects.write_row, database)
    drain_in_threads(database, threads=1)
    assert stored(broken).status == "scheduled"
    assert (stored(after).status, stored(after).num_attempts) == ("succeeded", 1)


@postgresql
def test_one_that_the_server_ended_behind_a_target_is_not_left_to_the_next(database, acting):
    def be_ended() -> None:
        ask(database)
        pid = connections[database].connection.info.backend_pid
        other = connections[database].copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        other.close()
        try:
            ask(database)
        except (OperationalError, psycopg.Error):
            return
        raise AssertionError("it was not ended")

    acting(be_ended)
    enqueued(database, effects.act)
    enqueued(database, effects.write_row, database)
    drain_in_threads(database, threads=1)
    assert states(database) == ["succeeded", "succeeded"]


def test_a_block_that_a_target_left_open_is_not_left_to_the_next(database, acting):
    def leave_open() -> None:
        transaction.atomic(database).__enter__()
        effects.write_ledger(database)

    acting(leave_open)
    left_open = enqueued(database, effects.act)
    after = enqueued(database, effects.write_row, database)
    drain_in_threads(database, threads=1)
    assert stored(left_open).status == "scheduled"
    assert stored(after).status == "succeeded"
    rows = Ledger.objects.using(database)
    assert [row.attempt_id for row in rows.all()] == [after.pk]


def test_one_that_may_grow_old_is_closed_when_it_is(database, acting, monkeypatch):
    monkeypatch.setitem(connections.settings[database], "CONN_MAX_AGE", 3600)
    used = []

    def use(age: float) -> None:
        ask(database)
        connection = connections[database]
        used.append(connection.connection)
        assert connection.close_at is not None
        connection.close_at = time.monotonic() + 3600 - age

    acting(use)
    for age in (0, 3601, 0):
        enqueued(database, effects.act, age)
    drain_in_threads(database, threads=1)
    first, second, third = map(id, used)
    assert first == second != third


def test_one_that_async_targets_use_is_closed_when_it_is_old_and_none_goes_on(
    database, acting, monkeypatch
):
    monkeypatch.setitem(connections.settings[database], "CONN_MAX_AGE", 3600)
    used = []

    def use(age: float) -> None:
        ask(database)
        connection = connections[database]
        used.append(connection.connection)
        assert connection.close_at is not None
        connection.close_at = time.monotonic() + 3600 - age

    async def use_twice(age: float) -> None:
        await sync_to_async(use)(age)
        await sync_to_async(use)(age)

    def act(age: float | None = None) -> object:
        if age is None:
            until(lambda: states(database)[0] == "succeeded")
            return None
        return use_twice(age)

    acting(act)
    enqueued(database, effects.act_asynchronously, 3601)
    enqueued(database, effects.act)
    enqueued(database, effects.act_asynchronously, 0)
    drain_in_threads(database, threads=1)
    assert states(database) == ["succeeded"] * 3
    first, again, second, _ = map(id, used)
    assert first == again != second


def test_one_that_a_request_would_close_stays_for_the_next_target(database, used):
    for _ in range(3):
        enqueued(database, effects.act)
    drain_in_threads(database, threads=1)
    assert len(used) == 3
    assert len({id(connection) for connection in used}) == 1
