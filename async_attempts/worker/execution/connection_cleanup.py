"""Cleaning up after a target: broken sessions, open transactions, query logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from django.db import DatabaseError, Error, connections, transaction
from django.db.backends.signals import connection_created
from django.dispatch import receiver

from .sessions import (
    ABORTED,
    CLEAN,
    OPEN,
    State,
    close,
    has_ended,
    is_in_testcase,
    is_pooled,
    state_of,
)

CANCEL_SECONDS: Final = 5.0

NO_BLOCKS: Final[Mapping[str, int]] = {}

LOOK_PAUSE: Final = 0.01
"""Seconds between two checks for sessions that the server has closed."""


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


class Connections:
    """The connections of one thread; a look at their states takes no round trip."""

    def __init__(self) -> None:
        self.looks_at = 0.0
        """The next look for sessions that the server has closed, by `shared_memory.now()`."""
        self.closes_old = True
        """True if `clean` closes what is older than its CONN_MAX_AGE."""
        self._all: list[tuple[Any, State, bool]] = []
        self._pooled: list[Any] = []
        self._has_new = True

    def opened(self, connection: Any) -> None:
        """Note that this thread has a new session."""
        self._has_new = True
        if is_pooled(connection) and has_ended(connection):
            # The pool can't know: it has lain there.
            close(connection)
            connection.connect()
        elif connection.connection is not None:
            # From its first statement on.
            state_of(connection)

    def _look_again(self) -> None:
        self._has_new = False
        here = [c for c in connections.all(initialized_only=True) if c.connection is not None]
        self._all = [(c, state_of(c), self.closes_old and may_grow_old(c)) for c in here]
        self._pooled = [c for c in here if is_pooled(c)]

    def are_clean(self) -> bool:
        """Return True if there is nothing to close, to roll back or to forget."""
        if self._has_new:
            self._look_again()
        for connection, state, grows_old in self._all:
            if connection.connection is None:
                continue
            if connection.atomic_blocks or connection.queries_log or connection.errors_occurred:
                return False
            if state() != CLEAN:
                return False
            if grows_old and connection.close_at and time.monotonic() >= connection.close_at:
                return False
        return True

    def replace_ended(self, moment: float) -> None:
        """Close sessions that the server has closed; the next use opens others. Never raises."""
        self.looks_at = moment + LOOK_PAUSE
        if self._has_new:
            self._look_again()
        for connection, _, _ in self._all:
            is_idle = connection.connection is not None and not connection.in_atomic_block
            if is_idle and has_ended(connection):
                close(connection)

    def refuse_left_open(self, before: Mapping[str, int]) -> None:
        """Raise BrokenTransaction if something is open that wasn't `before`: it never commits."""
        for alias, number in open_blocks().items():
            if number > before.get(alias, 0):
                raise BrokenTransaction(f"The target left an atomic block of {alias!r} open.")
        if self._has_new:
            self._look_again()
        for connection, state, _ in self._all:
            if connection.connection is None:
                continue
            if not connection.in_atomic_block:
                if state() in (OPEN, ABORTED):
                    raise BrokenTransaction(
                        f"The target left a transaction of {connection.alias!r} open, which will "
                        "be rolled back: use transaction.atomic(), or commit it."
                    )
            elif is_in_testcase(connection) and (connection.needs_rollback or state() == ABORTED):
                raise BrokenTransaction(
                    "The target swallowed a database error, which breaks the transaction of a "
                    "TestCase. Catch database errors around an inner transaction.atomic()."
                )

    def clean(self, before: Mapping[str, int]) -> None:
        """Leave no broken session, open transaction or query log to the next. Never raises."""
        if self._has_new:
            self._look_again()
        for connection, state, grows_old in self._all:
            connection.queries_log.clear()
            if connection.connection is None:
                continue
            allowed = before.get(connection.alias, 0)
            # An error that stays shows at the next use, where the worker can sit it out.
            with suppress(Error):
                if len(connection.atomic_blocks) > allowed == 0:
                    connection.close()
                    connection.connect()
                elif connection.in_atomic_block:
                    continue
                elif state() != CLEAN:
                    close(connection)
                elif connection.errors_occurred or grows_old:
                    connection.close_if_unusable_or_obsolete()

    def close_old(self) -> None:
        """Close what is older than its CONN_MAX_AGE. Never raises."""
        for connection, _, _ in self._all:
            if may_grow_old(connection):
                with suppress(Error):
                    connection.close_if_unusable_or_obsolete()

    def give_back(self) -> None:
        """Let others have what came from a pool. Never raises."""
        for connection in self._pooled:
            if connection.connection is not None and not connection.in_atomic_block:
                with suppress(Error):
                    connection.close()


def may_grow_old(connection: Any) -> bool:
    """True if it has a CONN_MAX_AGE; with 0 it stays: to a worker, all it does is one request."""
    return bool(connection.settings_dict["CONN_MAX_AGE"])


_here: Final = threading.local()


def connections_here() -> Connections:
    """Return those of the calling thread, and note from now on which ones it opens."""
    try:
        here: Connections = _here.connections
    except AttributeError:
        here = _here.connections = Connections()
    return here


@receiver(connection_created)
def _note_opened(connection: Any, **kwargs: Any) -> None:
    if (here := getattr(_here, "connections", None)) is not None:
        here.opened(connection)


def open_blocks() -> dict[str, int]:
    """Return the number of atomic blocks that are open on each of this thread's connections."""
    return {c.alias: len(c.atomic_blocks) for c in connections.all(initialized_only=True)}


def cancel_queries() -> None:
    """Have the server cancel interrupted queries: their locks would outlast the connection.

    Never raises. Only PostgreSQL's driver comes back before the answer does.
    """
    for connection in connections.all(initialized_only=True):
        if connection.vendor == "postgresql" and connection.connection is not None:
            with suppress(Exception):
                _cancel_query(connection)


def _cancel_query(connection: Any) -> None:
    from psycopg.pq import TransactionStatus

    session = connection.connection
    if session.info.transaction_status == TransactionStatus.ACTIVE:
        session.cancel_safe(timeout=CANCEL_SECONDS)
        if connection.atomic_blocks and connection.atomic_blocks[0]._from_testcase:
            # This one can't be closed instead: let it read what is left of the answer.
            while session.pgconn.get_result() is not None:
                pass


def close_connections(before: Mapping[str, int]) -> None:
    """Close connections with an interrupted query, whose answer is unread. Never raises."""
    for connection in connections.all(initialized_only=True):
        if not before.get(connection.alias, 0):
            with suppress(Error):
                connection.close()


@contextmanager
def saved_testcase() -> Iterator[None]:
    """Keep a database error from breaking the transaction of a `TestCase` outside of this block.

    Outside of tests statements commit one by one; so what was written stays, unless an error made
    the transaction unusable.
    """
    saved = [_savepoint(c) for c in connections.all(initialized_only=True) if is_in_testcase(c)]
    try:
        yield
    finally:
        for connection, block in reversed(saved):
            _end(connection, block)


def _savepoint(connection: Any) -> tuple[Any, Any]:
    block: Any = transaction.atomic(connection.alias)
    # Code within may open durable blocks, as it may outside of tests.
    block._from_testcase = True
    block.__enter__()
    return connection, block


def _end(connection: Any, block: Any) -> None:
    # If a savepoint can't be released, Django rolls it back.
    with suppress(Error):
        while connection.atomic_blocks[-1] is not block:
            # The target left it open.
            connection.needs_rollback = True
            connection.atomic_blocks[-1].__exit__(None, None, None)
        block.__exit__(None, None, None)
