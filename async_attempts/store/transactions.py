"""The store's own transactions: short, outermost, and done again whole when two of them collide."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, TypeVar

from django.db import DataError, Error, IntegrityError, OperationalError, connections, transaction

from ..exceptions import WaitingInTransaction, WrongTransaction
from ..pauses import Pauses

_T = TypeVar("_T")

IMPORTS: Final = "<frozen importlib._bootstrap>"
"""The file of the code by which Python imports a module."""

TRIES: Final = 6
PAUSES: Final = (0.04, 0.64)
"""Seconds between tries: the first and the longest one, at most."""

LONGEST_RETRYING: Final = 3.0
"""Seconds after which a transaction that collides isn't begun once more: each try may have waited
for a lock as long as its session does."""

POSTGRESQL_STATES: Final = frozenset({"40P01", "40001"})
POSTGRESQL_LOCK_TIMEOUT: Final = "55P03"
MYSQL_CODES: Final = frozenset({1213, 1205, 1020})
MYSQL_LOCK_TIMEOUT: Final = 1205
MYSQL_DEADLOCK: Final = 1213
"""The server has undone the whole transaction."""

MYSQL_UNSTORABLE: Final = 1366
"""A character that the column's character set lacks; the driver calls that operational."""

POSTGRESQL_OF_VALUES: Final = frozenset({"54000", "P0001"})
"""More than PostgreSQL can hold at once; and what a trigger raises."""

MYSQL_OF_VALUES: Final = frozenset({1292, 1690, 3819, 4025, MYSQL_UNSTORABLE})
"""Values out of range and broken checks, which the driver calls operational."""

SQLITE_NO_TEXT: Final = "Could not decode to UTF-8"
"""The module sqlite3 has no code for it."""

SQLITE_BUSY: Final = frozenset({5, 6})


def collided(error: BaseException) -> bool:
    """Return True if the database gave this transaction up for another: it can be done again."""
    cause = error.__cause__ or error
    if getattr(cause, "sqlstate", None) in POSTGRESQL_STATES:
        return True
    return _is_busy(cause) or (bool(error.args) and error.args[0] in MYSQL_CODES)


def waited_too_long(error: BaseException) -> bool:
    """Return True if the statement gave up as a lock was held; the session is sound."""
    cause = error.__cause__ or error
    if getattr(cause, "sqlstate", None) == POSTGRESQL_LOCK_TIMEOUT:
        return True
    return _is_busy(cause) or error.args[:1] == (MYSQL_LOCK_TIMEOUT,)


def _is_busy(cause: BaseException) -> bool:
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in SQLITE_BUSY


def refused(error: BaseException) -> bool:
    """Return True if the database can't store a value: it will refuse it the next time, too."""
    return isinstance(error, DataError) or error.args[:1] == (MYSQL_UNSTORABLE,)


def is_about_a_value(error: BaseException) -> bool:
    """Return True if what a row holds may have caused it, not the database or the session.

    So it may be of any error that isn't the database's: rows are read in Python, too.
    """
    if not isinstance(error, Error):
        return isinstance(error, Exception)
    if isinstance(error, DataError | IntegrityError):
        return True
    if getattr(error.__cause__, "sqlstate", None) in POSTGRESQL_OF_VALUES:
        return True
    return error.args[:1] in {(code,) for code in MYSQL_OF_VALUES} or str(error).startswith(
        SQLITE_NO_TEXT
    )


def in_transaction(alias: str, work: Callable[[], _T]) -> _T:
    """Do `work` in an outermost transaction of `alias`, again when it collides.

    Raises RuntimeError inside a caller's atomic block: a worker's moves must not depend on
    another's commit. (The block of a `TestCase` is none of a caller's.)
    """

    def whole() -> _T:
        with transaction.atomic(alias, durable=True):
            return work()

    return retry_on_conflict(alias, whole)


def retry_on_conflict(alias: str, work: Callable[[], _T]) -> _T:
    """Do `work`, and do it again, with jitter, when it collides with another transaction."""
    until = time.monotonic() + LONGEST_RETRYING
    pauses: Pauses | None = None
    for _ in range(TRIES - 1):
        try:
            return work()
        except OperationalError as error:
            # Within a TestCase the collision has ended the test's own transaction.
            if not collided(error) or connections[alias].in_atomic_block:
                raise
            if time.monotonic() > until:
                raise
            pauses = pauses or Pauses(*PAUSES, jitter=1.0)
            time.sleep(pauses.next())
    return work()


def retry_first_on_deadlock(alias: str, work: Callable[[], _T]) -> _T:
    """Do as `retry_on_conflict`, for the first `work` in an atomic block on MariaDB or MySQL.

    A deadlock undoes the whole transaction there: nothing but what `work` itself has done.
    """
    for pause in Pauses(*PAUSES, jitter=1.0).take(TRIES - 1):
        try:
            return work()
        except OperationalError as error:
            if error.args[:1] != (MYSQL_DEADLOCK,):
                raise
            # A savepoint that `work` has set is gone, too, and so Django gave the block up.
            transaction.set_rollback(False, alias)
            time.sleep(pause)
    return work()


def in_callers_block(alias: str) -> bool:
    """Return True if an atomic block is open there; a `TestCase`'s own doesn't count."""
    blocks: list[Any] = connections[alias].atomic_blocks
    return any(not block._from_testcase for block in blocks)


def refuse_callers_block(alias: str) -> None:
    """Raise RuntimeError inside a caller's atomic block."""
    if in_callers_block(alias):
        raise RuntimeError(
            "A worker's statements can't be part of another transaction; leave the atomic block."
        )


def refuse_waiting_in_block(alias: str) -> None:
    """Raise WaitingInTransaction inside a caller's atomic block: it may last for ever."""
    if in_callers_block(alias):
        raise WaitingInTransaction(
            f"An atomic block of {alias!r} is open here: what it enqueues isn't performed before "
            "it commits. Leave the atomic block, and wait then, or let one attempt follow the "
            "other: call(…).then(…)."
        )


def refuse_wrong_transaction(alias: str) -> None:
    """Raise WrongTransaction when only another database's atomic block is open."""
    if (wrong := wrong_transaction(alias)) is not None:
        raise wrong


def warn_while_importing() -> None:
    """Warn of an attempt that is enqueued while a module is imported.

    Asked outside of blocks only, since it walks the stack.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == IMPORTS:
            warnings.warn(
                "An attempt is enqueued while a module is imported: every process that imports it "
                "enqueues another one. Enqueue it in a function, or declare a schedule.",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        frame = frame.f_back


def wrong_transaction(alias: str) -> WrongTransaction | None:
    """Return the error to raise if only another database's atomic block is open, else None."""
    if in_callers_block(alias):
        return None
    warn_while_importing()
    initialized = connections.all(initialized_only=True)
    open_elsewhere = [c.alias for c in initialized if in_callers_block(c.alias)]
    if not open_elsewhere:
        return None
    return WrongTransaction(
        f"The attempt would go to {alias!r} while the open transaction is on "
        f"{', '.join(map(repr, open_elsewhere))}: it would be performed even if that rolls "
        "back. Enqueue with using(database=…) in that transaction's database, or pass "
        "allow_autocommit=True."
    )
