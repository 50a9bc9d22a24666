"""Other connections to the database, so that a test decides who goes first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import connections, transaction

from async_attempts.models import Worker
from async_attempts.store import Store
from tests import patience

T = TypeVar("T")

PATIENCE: Final = patience.PATIENCE

IMPATIENT: Final = {
    "postgresql": "SET lock_timeout = '1s'",
    # With 0, MariaDB 10.11 answers SKIP LOCKED with error 1180.
    "mysql": "SET innodb_lock_wait_timeout = 1",
    "sqlite": "PRAGMA busy_timeout = 0",
}
PATIENT: Final = {
    "postgresql": "RESET lock_timeout",
    "mysql": "SET innodb_lock_wait_timeout = DEFAULT",
    "sqlite": "PRAGMA busy_timeout = 20000",
}
WAITING: Final = {
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ),
    "mysql": (
        # The one counts all databases of the server, the other what else takes its time in this
        # one; `innodb_trx` knows better, but isn't refreshed while somebody polls it.
        "SELECT LEAST((SELECT variable_value + 0 FROM information_schema.global_status "
        "WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS'), "
        "(SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() "
        "AND command = 'Query' AND time_ms > 100 AND id <> CONNECTION_ID()))"
    ),
}

OF_A_CLAIM: Final = {"postgresql": "FOR KEY SHARE", "mysql": "LOCK IN SHARE MODE", "sqlite": ""}


def lock_as_a_claim(store: Store, worker_id: UUID) -> bool:
    """Lock the row of a live worker as its claims do."""
    database = store.database
    sql = f"SELECT 1 FROM {database.names['worker']} WHERE id = %s AND state = 'live'"
    stored = [Worker._meta.pk.get_db_prep_value(worker_id, database.connection)]
    return bool(database.fetch(f"{sql} {OF_A_CLAIM[database.vendor]}", stored))


class Session:
    """A connection in a thread of its own; does one piece of work after the other."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="session")
        self._block: transaction.Atomic | None = None
        self._stopped = threading.Event()
        self._go_on = threading.Event()

    def start(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
        return self._thread.submit(work, *args, **kwargs)

    def do(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return self.start(work, *args, **kwargs).result(PATIENCE)

    def execute(self, sql: str) -> None:
        def work() -> None:
            with connections[self.alias].cursor() as cursor:
                cursor.execute(sql)

        self.do(work)

    def begin(self) -> None:
        self._block = transaction.atomic(self.alias)
        self.do(self._block.__enter__)

    def commit(self) -> None:
        block, self._block = self._block, None
        assert block is not None
        self.do(block.__exit__, None, None, None)

    def rollback(self) -> None:
        self.do(transaction.set_rollback, True, self.alias)
        self.commit()

    def be_impatient(self) -> None:
        """From now on, to wait for a lock that isn't given up at once is an error."""
        self.execute(IMPATIENT[connections[self.alias].vendor])

    def start_and_stop_after(
        self, statement: Iterable[str], work: Callable[..., T], *args: Any, **kwargs: Any
    ) -> Future[T]:
        """Begin `work` and stand still after its first statement with all of these words."""
        words = tuple(statement)

        def stop(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            result = execute(sql, params, many, context)
            if all(word in sql for word in words) and not self._stopped.is_set():
                self._stopped.set()
                assert self._go_on.wait(PATIENCE)
            return result

        def stopping() -> T:
            with connections[self.alias].execute_wrapper(stop):
                return work(*args, **kwargs)

        future = self.start(stopping)
        assert self._stopped.wait(PATIENCE), future
        return future

    def go_on(self) -> None:
        self._go_on.set()

    def close(self) -> None:
        self._go_on.set()
        if self._block is not None:
            self.rollback()
        self.do(connections.close_all)
        self._thread.shutdown()


def wait_until_somebody_waits(store: Store, number: int = 1) -> None:
    """Until so many sessions wait for a lock. SQLite's waiting can't be seen from outside."""
    if store.database.connection.vendor == "sqlite":
        return
    deadline = time.monotonic() + PATIENCE
    with store.database.connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute(WAITING[store.database.connection.vendor])
            if cursor.fetchone()[0] >= number:
                return
            time.sleep(0.02)
    raise AssertionError(f"not {number} sessions wait for a lock")


@contextmanager
def rolled_back(store: Store) -> Iterator[None]:
    """A caller's transaction that ends with a rollback."""
    with transaction.atomic(store.database.alias):
        yield
        transaction.set_rollback(True, store.database.alias)


@contextmanager
def _closing_connections() -> Iterator[None]:
    try:
        yield
    finally:
        connections.close_all()


def at_once(number: int, work: Callable[[int], T]) -> list[T]:
    """What `work(0)`, `work(1)`, … return, each in a thread and connection of its own."""
    together = threading.Barrier(number)

    def one(n: int) -> T:
        with _closing_connections():
            together.wait(PATIENCE)
            return work(n)

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(one, range(number), timeout=PATIENCE * 2))
