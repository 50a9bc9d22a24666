"""MariaDB and MySQL: a token that is taken is an error of the one statement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from django.db import IntegrityError

from ...models import AbstractAttempt, AttemptQuerySet
from ..insert import Insert
from ..transactions import retry_first_on_deadlock

_T = TypeVar("_T")

DUPLICATE_ENTRY: Final = 1062


class _DuplicateEntry(Exception):
    """The server has undone the one statement; the caller's transaction goes on.

    No database error: an atomic target that enqueues has swallowed none.
    """

    def __init__(self, error: IntegrityError) -> None:
        super().__init__()
        self.error = error


def _duplicates_apart(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
    try:
        return execute(sql, params, many, context)
    except IntegrityError as error:
        if error.args[0] != DUPLICATE_ENTRY:
            raise
        raise _DuplicateEntry(error) from error


class MySQLInsert(Insert):
    """One INSERT without ON CONFLICT."""

    unique_conflict = ""
    shared_lock = "LOCK IN SHARE MODE"

    def write(self, attempts: Sequence[AbstractAttempt]) -> int:
        if len(attempts) > 1 and any(a.unique_key is not None for a in attempts):
            # A statement of many rows fails whole; each row with a token needs its own.
            free = [attempt for attempt in attempts if attempt.unique_key is None]
            keyed = [attempt for attempt in attempts if attempt.unique_key is not None]
            return (self.write(free) if free else 0) + sum(self.write([a]) for a in keyed)
        if attempts[0].unique_key is None:
            return super().write(attempts)
        try:
            with self.database.connection.execute_wrapper(_duplicates_apart):
                return super().write(attempts)
        except _DuplicateEntry as duplicate:
            mine = self.database.attempts.filter(pk=attempts[0].pk)
            if self.with_key(attempts[0].unique_key) is None and mine.exists():
                raise duplicate.error from None
            return 0

    def retry_for_tokens(self, work: Callable[[], _T]) -> _T:
        """Do `work` again also in a caller's block whose transaction has done nothing yet.

        When the insert of a token is rolled back, each caller that waits for it holds the gap into
        which the others insert, and the server ends all but one.
        """
        if self._has_done_nothing():
            return retry_first_on_deadlock(self.database.alias, work)
        return self.database.retry_on_conflict(work)

    def _has_done_nothing(self) -> bool:
        """Return True if a block is open whose transaction has read, written and locked nothing.

        Only MariaDB's server can say so. It isn't asked where the driver knows that the last
        statement read or changed rows: most callers have done so.
        """
        connection: Any = self.database.connection
        if not connection.in_atomic_block or any(connection.savepoint_ids):
            return False
        driver = connection.connection
        if driver.affected_rows() or driver.field_count() or not connection.mysql_is_mariadb:
            return False
        return self.database.fetch("SELECT @@in_transaction") == [(0,)]

    def write_keyed(self, row: AbstractAttempt) -> bool:
        if self._locks_no_gaps:
            mine = self.database.attempts.filter(unique_key=row.unique_key).select_for_update()
            if list(mine.values_list("pk")):
                return False
        return super().write_keyed(row)

    def rows_between(self, first: bytes, last: bytes, look: int) -> AttemptQuerySet[Any]:
        rows = super().rows_between(first, last, look)
        # At REPEATABLE READ only a locking read sees what is newer than the snapshot.
        is_stale = look > 1 or (look and not self._locks_no_gaps)
        return rows.select_for_update() if is_stale else rows

    @property
    def _locks_no_gaps(self) -> bool:
        """True if callers that wait for a key that isn't committed yet can do so by reading it.

        When its insert is rolled back, each caller that waits by inserting it holds the gap into
        which the others insert, and all but one are ended. At REPEATABLE READ so are readers.
        """
        connection: Any = self.database.connection
        return bool(connection.isolation_level == "read committed")

    def with_key(self, key: bytes | None) -> AbstractAttempt | None:
        if (row := super().with_key(key)) is not None:
            return row
        # At REPEATABLE READ only a locking read sees a winner that is newer than the snapshot.
        # A shared lock: others that wait for the same winner hold one already and would deadlock.
        columns, table = ", ".join(self.columns.selected), self.columns.table
        sql = f"SELECT {columns} FROM {table} WHERE unique_key = %s {self.shared_lock}"
        return next(iter(self.database.attempts.raw(sql, [key])), None)
