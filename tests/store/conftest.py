"""The fixtures of the store's one behaviour suite, which runs unchanged on each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

from async_attempts.models import Worker, clock
from async_attempts.store import Claim, Store, store_for

from .rows import enqueued, registered
from .sessions import IMPATIENT, PATIENT, Session


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """The store; the test's own connection waits for no lock that isn't given up at once."""
    store = store_for(database)
    with store.database.connection.cursor() as cursor:
        cursor.execute(IMPATIENT[store.database.connection.vendor])
    yield store
    with store.database.connection.cursor() as cursor:
        cursor.execute(PATIENT[store.database.connection.vendor])


@pytest.fixture
def worker(store: Store) -> Worker:
    """A live worker."""
    return registered(store)


@pytest.fixture
def claimed(store: Store, worker: Worker) -> Callable[..., list[Claim]]:
    """Enqueues so many attempts, with these options, and claims them for `worker`."""

    def claimed(number: int = 1, **options: Any) -> list[Claim]:
        attempts = enqueued(store, number, **options)
        claims = store.claims.claim(worker.pk, ["default"], number)
        assert {claim.id for claim in claims} == {attempt.pk for attempt in attempts}
        return claims

    return claimed


@pytest.fixture
def sessions(database: str) -> Iterator[Callable[[], Session]]:
    """Opens another connection to the database, in a thread of its own."""
    opened: list[Session] = []

    def open_session() -> Session:
        opened.append(Session(database))
        return opened[-1]

    yield open_session
    for session in opened:
        session.close()


@pytest.fixture
def an_hour_ahead(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The database's clock is an hour ahead of this process's."""
    connection = store.database.connection
    if connection.vendor == "sqlite":
        # The one database whose clock is this process's.
        monkeypatch.setattr(clock, "datetime", _AnHourAhead)
        yield
        return
    ahead, again = _CLOCKS[connection.vendor]
    with connection.cursor() as cursor:
        for statement in ahead:
            cursor.execute(statement)
        yield
        for statement in again:
            cursor.execute(statement)


class _AnHourAhead(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.now(tz) + timedelta(hours=1)


_CLOCKS = {
    "postgresql": (
        (
            "CREATE SCHEMA ahead",
            """
            CREATE FUNCTION ahead.statement_timestamp() RETURNS timestamptz STABLE
            RETURN pg_catalog.statement_timestamp() + interval '1 hour'
            """,
            "SET search_path = ahead, pg_catalog, public",
        ),
        ("RESET search_path", "DROP SCHEMA ahead CASCADE"),
    ),
    "mysql": (
        ("SET timestamp = unix_timestamp(now(6)) + 3600",),
        ("SET timestamp = DEFAULT",),
    ),
}
"""Statements that put the session's clock ahead, and those that undo it."""
