"""MariaDB and MySQL: no UPDATE … RETURNING, no ON CONFLICT, and a clock in the session's zone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError

from ..models import AbstractAttempt, Worker
from .base import Store
from .rows import require_read_committed

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


class MySQLStore(Store):
    """MariaDB and MySQL by one code path."""

    unique_conflict = ""

    def isolation_problem(self) -> str | None:
        with self.connection.cursor() as cursor:
            # MariaDB before 11.1 has only the older of the two names.
            cursor.execute(
                "SHOW VARIABLES WHERE variable_name IN ('transaction_isolation', 'tx_isolation')"
            )
            level = cursor.fetchone()[1]
        return require_read_committed(self.alias, level.replace("-", " "))

    def live_worker(self, worker_id: UUID) -> bool:
        """A shared lock: the claims of one worker's threads don't wait for each other."""
        table = self.connection.ops.quote_name(Worker._meta.db_table)
        sql = f"SELECT 1 FROM {table} WHERE id = %s AND state = 'live' LOCK IN SHARE MODE"
        key = Worker._meta.pk.get_db_prep_value(worker_id, self.connection)
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [key])
            return cursor.fetchone() is not None

    def delete(self, ids: Sequence[UUID]) -> None:
        """By the primary key: reading a small table as a whole waits for what runs atomically."""
        if not ids:
            return
        table, places = self.columns.table, ", ".join(["%s"] * len(ids))
        sql = f"DELETE {table} FROM {table} FORCE INDEX (PRIMARY) WHERE id IN ({places})"
        key = self.model._meta.pk
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [key.get_db_prep_value(pk, self.connection) for pk in ids])

    def _write(self, attempts: Sequence[AbstractAttempt]) -> int:
        if len(attempts) > 1 and any(a.unique_key is not None for a in attempts):
            # A statement of many rows fails whole; each row with a token needs its own.
            free = [attempt for attempt in attempts if attempt.unique_key is None]
            keyed = [attempt for attempt in attempts if attempt.unique_key is not None]
            return (self._write(free) if free else 0) + sum(self._write([a]) for a in keyed)
        if attempts[0].unique_key is None:
            return super()._write(attempts)
        try:
            with self.connection.execute_wrapper(_duplicates_apart):
                return super()._write(attempts)
        except _DuplicateEntry as duplicate:
            if self._with_key(attempts[0].unique_key) is None and self._is_primary(attempts[0]):
                raise duplicate.error from None
            return 0

    def _is_primary(self, attempt: AbstractAttempt) -> bool:
        return self.attempts.filter(pk=attempt.pk).exists()

    def _with_key(self, key: bytes | None) -> AbstractAttempt | None:
        if (row := super()._with_key(key)) is not None:
            return row
        # At REPEATABLE READ only a locking read sees a winner that is newer than the snapshot.
        # A shared lock: those who wait for the same winner hold one already and would deadlock.
        sql = f"SELECT * FROM {self.columns.table} WHERE unique_key = %s LOCK IN SHARE MODE"
        return next(iter(self.attempts.raw(sql, [key])), None)
