"""What a target may leave behind on database connections, and how the next one is spared it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from django.db import DatabaseError, Error, connections
from django.db.backends.signals import connection_created

CANCEL_SECONDS: Final = 5.0


class BrokenTransaction(DatabaseError):
    """The target's transaction can't be committed, though the target returned."""


@contextmanager
def refuse_swallowed_errors(connection: Any) -> Iterator[None]:
    """Raise BrokenTransaction at the end if a database error outside of a savepoint was swallowed.

    PostgreSQL would refuse to commit; MySQL and SQLite would commit what is left. One rule for all.
    """
    outermost = len(connection.savepoint_ids)
    broken: list[str] = []

    def watch(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        try:
            return execute(sql, params, many, context)
        except DatabaseError as error:
            if len(connection.savepoint_ids) == outermost:
                broken.append(type(error).__name__)
            raise

    with connection.execute_wrapper(watch):
        yield
    if broken:
        raise BrokenTransaction(
            f"The target swallowed {broken[0]}: its transaction is incomplete. Catch database "
            "errors around an inner transaction.atomic()."
        )


class Opened:
    """Counts the connections that were ever opened in this process: a reason to look anew."""

    def __init__(self) -> None:
        self.count = 0
        connection_created.connect(self._note, weak=False)

    def _note(self, **kwargs: Any) -> None:
        self.count += 1


_opened: Final = Opened()


class Connections:
    """One thread's connections; looking whether all are as they should be takes no round trip."""

    def __init__(self) -> None:
        self._seen = -1
        self._all: list[tuple[Any, bool]] = []

    def are_clean(self) -> bool:
        """Whether there is nothing to close, to roll back or to forget."""
        if self._seen != _opened.count:
            self._seen = _opened.count
            here = connections.all(initialized_only=True)
            self._all = [(c, bool(c.settings_dict["CONN_MAX_AGE"])) for c in here]
        for connection, grows_old in self._all:
            if connection.connection is None:
                continue
            if connection.atomic_blocks or connection.queries_log or _is_doubtful(connection):
                return False
            if grows_old and connection.close_at and time.monotonic() >= connection.close_at:
                return False
        return True


def open_blocks() -> dict[str, int]:
    """How many atomic blocks are open on each of this thread's connections."""
    return {c.alias: len(c.atomic_blocks) for c in connections.all(initialized_only=True)}


def refuse_open_blocks(before: Mapping[str, int]) -> None:
    """Raise BrokenTransaction if a block is open that wasn't `before`: it would never commit."""
    for alias, number in open_blocks().items():
        if number > before.get(alias, 0):
            raise BrokenTransaction(f"The target left an atomic block of {alias!r} open.")


def clean_connections(before: Mapping[str, int]) -> None:
    """Leave no broken connection, open block or query log to the next target. Never raises.

    A connection older than its CONN_MAX_AGE is closed; with 0 it stays: to a worker, all it does is
    one request.
    """
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()
        allowed = before.get(connection.alias, 0)
        # What can't be mended now shows at its next use, where the worker can sit it out.
        with suppress(Error):
            if len(connection.atomic_blocks) > allowed == 0:
                connection.close()
                connection.connect()
            elif not connection.in_atomic_block and (
                _is_doubtful(connection) or connection.settings_dict["CONN_MAX_AGE"]
            ):
                connection.close_if_unusable_or_obsolete()


def cancel_queries() -> None:
    """Let the server end what nobody awaits any more: its locks would outlast the connection.

    Never raises. Only PostgreSQL's driver comes back before the answer does.
    """
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "postgresql" and connection.connection is not None:
            with suppress(Exception):
                _cancel_query(connection.connection)


def _cancel_query(session: Any) -> None:
    from psycopg.pq import TransactionStatus

    if session.info.transaction_status == TransactionStatus.ACTIVE:
        session.cancel_safe(timeout=CANCEL_SECONDS)


def close_connections(before: Mapping[str, int]) -> None:
    """What was thrown out of a query has left its answer behind: start anew. Never raises."""
    for connection in connections.all(initialized_only=True):
        if not before.get(connection.alias, 0):
            with suppress(Error):
                connection.close()


def _is_doubtful(connection: Any) -> bool:
    return connection.errors_occurred or (
        connection.connection is not None
        and connection.autocommit != connection.settings_dict["AUTOCOMMIT"]
    )
