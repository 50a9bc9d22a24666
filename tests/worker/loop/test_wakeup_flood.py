"""Any role that may connect can notify: what that costs an idle worker, and what it delays."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from django.db import connections
from django.db.backends.signals import connection_created
from psycopg import sql

from async_attempts.store.notifications import channel
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued
from tests.worker.helpers.listeners import sessions_that_listen
from tests.worker.helpers.processes import lines, until

pytestmark = pytest.mark.only("postgresql", reason="the others have no notifications")
SECONDS = 3.0
PER_SECOND = 20


@pytest.fixture
def stranger(database: str) -> Iterator[psycopg.Connection]:
    """A session of a role that has no right to anything but to connect."""
    params = connections[database].get_connection_params()
    with psycopg.connect(**params, autocommit=True) as connection:
        name = sql.Identifier(f"{connection.info.dbname}_stranger")
        connection.execute(sql.SQL("CREATE ROLE {}").format(name))
        connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(name))
        yield connection
        connection.execute("RESET SESSION AUTHORIZATION")
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


class Flood:
    """Notifies again and again while the block lasts."""

    def __init__(self, stranger: psycopg.Connection) -> None:
        self.sent = 0
        self._stranger = stranger
        self._channel = channel()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._notify)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ends.set()
        self._thread.join()

    def _notify(self) -> None:
        while not self._ends.wait(0.001):
            self._stranger.execute("SELECT pg_notify(%s, '')", [self._channel])
            self.sent += 1


def note_statements(path: Path) -> None:
    """Have each connection of this process write what it asks to that file, a line each."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(execute: Callable[..., Any], statement: str, *args: Any) -> Any:
        os.write(file, f"{' '.join(statement.split())}\n".encode())
        return execute(statement, *args)

    def begin(connection: Any, **_: object) -> None:
        connection.execute_wrappers.append(note)

    connection_created.connect(begin, weak=False)


@pytest.fixture
def statements(database: str, workers: Any, tmp_path: Path) -> Callable[[], list[str]]:
    """What an idle worker has asked since this was last called."""
    path = tmp_path / "statements"
    flags = [f"--database={database}", "--queues=default"]
    worker = workers.start(*flags, prepare=partial(note_statements, path))
    until(lambda: sessions_that_listen(database), worker)
    told = 0

    def since() -> list[str]:
        nonlocal told
        new = [" ".join(words) for words in lines(path)[told:]]
        told += len(new)
        return new

    def is_idle() -> bool:
        time.sleep(0.5)
        return not since()

    until(is_idle, worker)
    return since


def test_a_flood_costs_an_idle_worker_few_looks(statements, stranger):
    with Flood(stranger) as flood:
        time.sleep(SECONDS)
        asked = statements()
    assert flood.sent > 2 * PER_SECOND * SECONDS
    looks = [statement for statement in asked if "num_crashes > 0)" in statement]
    claims = [statement for statement in asked if "SKIP LOCKED" in statement]
    most = PER_SECOND * (SECONDS + 0.5)
    assert 0 < len(looks) <= most
    assert 0 < len(claims) <= most
    assert len(asked) <= 3 * most, len(asked)


def test_what_becomes_due_meanwhile_is_performed_soon(database, statements, stranger, tmp_path):
    ledger = tmp_path / "ledger"
    delays = []
    with Flood(stranger):
        for number in range(1, 12):
            time.sleep(0.2)
            began = time.monotonic()
            enqueued(database, effects.write, str(ledger))
            while len(lines(ledger)) < number:
                assert time.monotonic() < began + 5
                time.sleep(0.001)
            delays.append(time.monotonic() - began)
    assert sorted(delays)[len(delays) // 2] < 0.1, delays
