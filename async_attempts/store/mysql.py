"""MariaDB and MySQL: no UPDATE … RETURNING, no ON CONFLICT, and a clock in the session's zone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import UTC
from functools import cached_property
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import OperationalError
from django.db.models import BinaryField, F, Func

from ..lifecycle import Released, Status
from ..models import AttemptQuerySet, Failure, Slot, Tally
from ..payload.limits import most_args_bytes
from .base import Store
from .claims import COLUMNS, Claim, uptime
from .dooming import as_uuid
from .keyless import Cursor
from .limiting import Which
from .mysql_inserting import MySQLInserting
from .progressing import Said
from .rows import require_read_committed
from .transactions import waited_too_long

_T = TypeVar("_T")

SELECT = """
SELECT {columns}, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires_at),
    TIMESTAMPDIFF(MICROSECOND, scheduled_at, UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)
FROM {attempt} {by_index}
WHERE status = 'pending' AND claimed_by IS NULL AND {which} AND scheduled_at <= UTC_TIMESTAMP(6)
ORDER BY priority DESC, scheduled_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

CLAIM = """
UPDATE {attempt} FORCE INDEX (PRIMARY)
SET claimed_by = %s, claim_seq = claim_seq + 1, num_attempts = num_attempts + 1, started_at = %s,
    reason = ''
WHERE id IN ({ids}) AND status = 'pending' AND claimed_by IS NULL
"""

SUCCEED = """
{at_once} UPDATE {attempt} FORCE INDEX (PRIMARY)
SET status = 'succeeded', completed_at = UTC_TIMESTAMP(6), num_crashes = 0{result}
WHERE id IN ({ids}) AND claim_seq = %s AND claimed_by = %s AND status = 'pending'
"""

LOCK = """
SELECT id, claim_seq, cancel_requested FROM {attempt} FORCE INDEX (PRIMARY)
WHERE id IN ({ids}) AND claimed_by = %s AND status = 'pending' ORDER BY id FOR UPDATE SKIP LOCKED
"""
"""By themselves these three may walk the claim index of a small table: they would lock in the order
of that, and wait for what others hold of it."""

AT_ONCE: Final = "SET STATEMENT innodb_lock_wait_timeout = 0 FOR"
"""MariaDB's only: the statement fails with 1205 instead of waiting for a lock."""

AT_ONCE_AGAIN: Final = (0.0, 0.002)
"""Seconds before each try: a claim of another worker's locks for a moment what it passes over."""

DELETED_AT_ONCE: Final = 200
CLAIM_ORDER: Final = ("queue", "num_crashes", "-priority", "scheduled_at", "id")

NUM_ATTEMPTS, CLAIM_SEQ = COLUMNS.index("num_attempts"), COLUMNS.index("claim_seq")


EXACT_KEY: Final = Func(
    F("limit_key"),
    template="CAST(CONVERT(%(expressions)s USING utf8mb4) AS BINARY)",
    output_field=BinaryField(),
)


class MySQLStore(MySQLInserting, Store):
    """MariaDB and MySQL by one code path."""

    def whole(self, work: Callable[[], _T]) -> _T:
        """By the primary key what the ORM updates by it: see `CLAIM`."""
        with ExitStack() as forced:
            for table in (self.names["attempt"], self.words["dependency"], self._slot):
                force = self._forcing(f"UPDATE {table}", " SET ", "PRIMARY", of_ids=True)
                forced.enter_context(force)
            return super().whole(work)

    def _scheduled(self, after: Cursor | None, limit: int) -> list[Cursor]:
        """By the index in whose order the walk is, and not by another of the same status."""
        with self._by_index_over("scheduled_at", "id"):
            return super()._scheduled(after, limit)

    def _overdue_ids(self, limit: int) -> list[UUID]:
        """By itself, a look at a table with few rows that have ended reads it as a whole."""
        with self._by_index_over("expires_at"):
            return super()._overdue_ids(limit)

    def _by_index_over(self, *fields: str) -> AbstractContextManager[None]:
        """Let the ORM read attempts by the index over these columns; a project may have none."""
        index = self._index_over(fields)
        if index is None:
            return nullcontext()
        return self._forcing(f"FROM {self.names['attempt']}", " WHERE ", index)

    def _put_off(self, ids: Sequence[UUID], causes: Mapping[bytes, Released]) -> Counter[bytes]:
        with self._locking_by_id():
            return super()._put_off(ids, causes)

    def _let_come(self, openable: Collection[str], ids: Sequence[UUID]) -> int:
        with self._locking_by_id():
            return super()._let_come(openable, ids)

    def _locking_by_id(self) -> AbstractContextManager[None]:
        """By the primary key what the ORM locks by it: see `LOCK`."""
        return self._forcing(f"FROM {self.names['attempt']}", " WHERE ", "PRIMARY", of_ids=True)

    def _forcing(
        self, begin: str, end: str, index: str, *, of_ids: bool = False
    ) -> AbstractContextManager[None]:
        """Let the ORM's statements that have this part, `of_ids` those with ids, use an index."""

        def force(
            execute: Callable[..., _T], sql: str, params: Any, many: bool, context: Any
        ) -> _T:
            if begin + end in sql and (not of_ids or f"{self.quoted('id')} IN (" in sql):
                sql = sql.replace(begin + end, f"{begin} FORCE INDEX ({index}){end}", 1)
            return execute(sql, params, many, context)

        return self.connection.execute_wrapper(force)

    def _index_over(self, fields: Sequence[str]) -> str | None:
        """The index of attempts over these columns, as SQL writes it; a project may have none."""
        indexes = self.model._meta.indexes
        names = [index.name for index in indexes if list(index.fields) == list(fields)]
        return self.connection.ops.quote_name(names[0]) if names else None

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
        sql = "SELECT 1 FROM {worker} WHERE id = %s AND state = 'live' LOCK IN SHARE MODE"
        with self.connection.cursor() as cursor:
            cursor.execute(sql.format(**self.names), [self.stored(worker_id)])
            return cursor.fetchone() is not None

    def delete(self, ids: Sequence[UUID]) -> None:
        """Reading a small table as a whole would wait for what runs atomically."""
        self._delete_by_id(self.names["attempt"], "id", ids)

    def delete_failures(self, ids: Sequence[UUID]) -> None:
        """Reading a small table as a whole would wait for a worker that froze over one."""
        self._delete_by_id(self._failures, "attempt_id", ids)

    def delete_dependencies(self, ids: Sequence[UUID]) -> None:
        """Reading a small table as a whole would wait for callers that write edges."""
        self._delete_by_id(self.words["dependency"], "attempt_id", ids)

    def delete_tallies(self, ids: Sequence[int]) -> None:
        """Reading a small table as a whole would wait for a worker that froze while it counted."""
        self._delete_by(self.connection.ops.quote_name(Tally._meta.db_table), "id", "%s", ids)

    def delete_workers(self, ids: Sequence[UUID]) -> None:
        """Reading the small table as a whole would wait for a worker that froze in a claim."""
        self._delete_by_id(self.names["worker"], "id", ids)

    def delete_slots(self, ids: Sequence[int]) -> None:
        """Reading a small table as a whole would wait for a worker that looks for a place."""
        self._delete_by(self._slot, "id", "%s", ids)

    @cached_property
    def _failures(self) -> str:
        return str(self.connection.ops.quote_name(Failure._meta.db_table))

    @cached_property
    def _slot(self) -> str:
        return str(self.connection.ops.quote_name(Slot._meta.db_table))

    def _delete_by_id(self, table: str, column: str, ids: Sequence[UUID]) -> None:
        # In ASCII, which is compared with a column of any collation.
        text = "CONVERT(%s USING ascii)"
        self._delete_by(table, column, text, [self.stored(pk) for pk in ids])

    def _delete_by(self, table: str, column: str, form: str, keys: Sequence[Any]) -> None:
        """By an index: a join, as MariaDB takes no hint of an index in a DELETE."""
        for start in range(0, len(keys), DELETED_AT_ONCE):
            some = keys[start : start + DELETED_AT_ONCE]
            listed = " UNION ALL ".join([f"SELECT {form} AS k"] * len(some))
            sql = f"DELETE d FROM ({listed}) l STRAIGHT_JOIN {table} d ON d.{column} = l.k"
            with self.connection.cursor() as cursor:
                cursor.execute(sql, some)

    def _claim_within(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        param = self.stored(which.param) if isinstance(which.param, UUID) else which.param
        by_index = "" if isinstance(which.param, UUID | list) else self.by_claim_index
        select = SELECT.format(which=which.sql, by_index=by_index, **self.names)

        if not self.live_worker(worker_id):
            return []
        began = uptime()
        with self.connection.cursor() as cursor:
            most_bytes = most_args_bytes()
            cursor.execute(select, {"which": param, "limit": limit, "most_bytes": most_bytes})
            rows = cursor.fetchall()
            if not rows:
                return []
            places = ", ".join(["%s"] * len(rows))
            sql = CLAIM.format(ids=places, **self.names)
            ids = [row[0] for row in rows]
            cursor.execute(sql, [self.stored(worker_id), rows[0][-1], *ids])
        return [self._claimed(row, worker_id, began) for row in rows]

    def _claimed(self, row: Sequence[Any], worker_id: UUID, began: float) -> Claim:
        """The claim behind a row as it was before."""
        *values, waited, now = row
        values[0] = bytes.fromhex(row[0].replace("-", ""))
        values[NUM_ATTEMPTS] += 1
        values[CLAIM_SEQ] += 1
        if values[-1] is not None:
            values[-1] /= 1e6
        started_at = now.replace(tzinfo=UTC)
        return Claim._make((*values, started_at, worker_id, self.alias, began, waited / 1e6))

    def _lock(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, tuple[int, bool]]:
        if not claims:
            return {}
        stored = [self.stored(claim.id) for claim in claims]
        sql = LOCK.format(ids=", ".join(["%s"] * len(stored)), **self.names)
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [*stored, self.stored(worker_id)])
            return {as_uuid(pk): (seq, bool(wish)) for pk, seq, wish in cursor.fetchall()}

    def _succeed_in_place(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> int:
        """In one statement, as long as nobody else locks one of the rows."""
        for pause in AT_ONCE_AGAIN if self._fails_at_once else ():
            time.sleep(pause)
            try:
                return self._succeed_those(worker_id, claim_seq, ids, drops, AT_ONCE)
            except OperationalError as error:
                # Only the statement is rolled back.
                if not waited_too_long(error):
                    raise
        unlocked = self._unlocked(worker_id, claim_seq, ids)
        return self._succeed_those(worker_id, claim_seq, [one.bytes for one in unlocked], drops)

    @cached_property
    def _fails_at_once(self) -> bool:
        """Whether a statement can fail instead of waiting, and undoes nothing but itself then.

        A server can be set to undo the whole transaction, and what was recorded before in it.
        """
        connection: Any = self.connection
        if not connection.mysql_is_mariadb:
            return False
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@innodb_rollback_on_timeout")
            return bool(cursor.fetchone() == (0,))

    def _succeed_those(
        self,
        worker_id: UUID,
        claim_seq: int,
        ids: Sequence[bytes],
        drops: bool,
        at_once: str = "",
    ) -> int:
        if not ids:
            return 0
        placeholders = ", ".join(["%s"] * len(ids))
        noted = self._setting_result(drops)
        sql = SUCCEED.format(at_once=at_once, ids=placeholders, result=noted, **self.names)
        stored = [self.stored(UUID(bytes=one)) for one in ids]
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [*stored, claim_seq, self.stored(worker_id)])
            count: int = cursor.rowcount
            return count

    def _unlocked(self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes]) -> list[UUID]:
        """By the primary key: see `LOCK`."""
        placeholders = ", ".join(["%s"] * len(ids))
        sql = LOCK.format(ids=placeholders, **self.names)
        stored = [self.stored(UUID(bytes=one)) for one in ids]
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [*stored, self.stored(worker_id)])
            return [as_uuid(pk) for pk, seq, _ in cursor.fetchall() if seq == claim_seq]

    def _note_progress(self, said: Sequence[Said]) -> None:
        """Row by row: of many ids a small table is read as a whole, and what others lock of it is
        waited for.
        """
        for claim, percent, note in said:
            mine = self.attempts.filter(pk=claim.id, status=Status.PENDING)
            mine.update(progress=percent, progress_note=note)

    def _keys_of(self, attempts: AttemptQuerySet[Any]) -> set[str]:
        """By their bytes: in most collations "a" and "A" are one, and so are "a" and "a "."""
        keys = attempts.annotate(exactly=EXACT_KEY).order_by()
        return {bytes(key).decode() for key in keys.values_list("exactly", flat=True).distinct()}

    def _of_key(self, attempts: AttemptQuerySet[Any], key: str) -> AttemptQuerySet[Any]:
        alike = super()._of_key(attempts, key)
        return alike.annotate(exactly=EXACT_KEY).filter(exactly=key.encode())

    def stored(self, one: UUID) -> Any:
        """An id as the database holds it: MariaDB has a type for it, MySQL has not."""
        return self.model._meta.pk.get_db_prep_value(one, self.connection)

    @cached_property
    def by_claim_index(self) -> str:
        """By itself, a claim sorts a small table as a whole, and locks more than it takes; and a
        look for suspects reads all that is pending.
        """
        index = self._index_over(CLAIM_ORDER)
        return f"FORCE INDEX ({index})" if index else ""
