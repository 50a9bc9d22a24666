"""MariaDB and MySQL: no UPDATE … RETURNING, no ON CONFLICT, and a clock in the session's zone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

from ..lifecycle import Status
from .base import Store
from .claims import COLUMNS, Claim
from .dooming import as_uuid
from .limiting import Which
from .mysql_inserting import MySQLInserting
from .progressing import Said
from .rows import require_read_committed

_T = TypeVar("_T")

SELECT = """
SELECT {columns}, COALESCE(expires_at <= UTC_TIMESTAMP(6), FALSE),
    TIMESTAMPDIFF(MICROSECOND, scheduled_at, UTC_TIMESTAMP(6)), UTC_TIMESTAMP(6)
FROM {attempt} {by_index}
WHERE status = 'pending' AND claimed_by IS NULL AND {which} AND scheduled_at <= UTC_TIMESTAMP(6)
ORDER BY priority DESC, scheduled_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

CLAIM = """
UPDATE {attempt} FORCE INDEX (PRIMARY)
SET claimed_by = %s, claim_seq = claim_seq + 1, num_attempts = num_attempts + 1, started_at = %s
WHERE id IN ({ids}) AND status = 'pending' AND claimed_by IS NULL
"""

SUCCEED = """
UPDATE {attempt} FORCE INDEX (PRIMARY)
SET status = 'succeeded', completed_at = UTC_TIMESTAMP(6), num_crashes = 0
WHERE id IN ({ids}) AND claim_seq = %s AND claimed_by = %s AND status = 'pending'
"""

LOCK = """
SELECT id, claim_seq, cancel_requested FROM {attempt} FORCE INDEX (PRIMARY)
WHERE id IN ({ids}) AND claimed_by = %s AND status = 'pending' ORDER BY id FOR UPDATE
"""
"""By themselves these three may walk the claim index of a small table: they would lock in the order
of that, and wait for what others hold of it."""

NUM_ATTEMPTS, CLAIM_SEQ = COLUMNS.index("num_attempts"), COLUMNS.index("claim_seq")


class MySQLStore(MySQLInserting, Store):
    """MariaDB and MySQL by one code path."""

    def whole(self, work: Callable[[], _T]) -> _T:
        """By the primary key what the ORM updates by it: see `CLAIM`."""
        with self.connection.execute_wrapper(self._by_primary_key):
            return super().whole(work)

    def _by_primary_key(
        self, execute: Callable[..., _T], sql: str, params: Any, many: bool, context: Any
    ) -> _T:
        update = f"UPDATE {self.names['attempt']} SET "
        if sql.startswith(update) and f"{self.quoted('id')} IN (" in sql:
            sql = sql.replace(" SET ", " FORCE INDEX (PRIMARY) SET ", 1)
        return execute(sql, params, many, context)

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
        """By the primary key: reading a small table as a whole waits for what runs atomically."""
        if not ids:
            return
        table, places = self.names["attempt"], ", ".join(["%s"] * len(ids))
        sql = f"DELETE {table} FROM {table} FORCE INDEX (PRIMARY) WHERE id IN ({places})"
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [self.stored(pk) for pk in ids])

    def _claim_within(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        param = self.stored(which.param) if isinstance(which.param, UUID) else which.param
        by_index = "" if isinstance(which.param, UUID) else self.by_claim_index
        select = SELECT.format(which=which.sql, by_index=by_index, **self.names)

        if not self.live_worker(worker_id):
            return []
        with self.connection.cursor() as cursor:
            cursor.execute(select, {"which": param, "limit": limit})
            rows = cursor.fetchall()
            if not rows:
                return []
            places = ", ".join(["%s"] * len(rows))
            sql = CLAIM.format(ids=places, **self.names)
            ids = [row[0] for row in rows]
            cursor.execute(sql, [self.stored(worker_id), rows[0][-1], *ids])
        return [self._claimed(row, worker_id) for row in rows]

    def _claimed(self, row: Sequence[Any], worker_id: UUID) -> Claim:
        """The claim behind a row as it was before."""
        *values, waited, now = row
        values[0] = bytes.fromhex(row[0].replace("-", ""))
        values[NUM_ATTEMPTS] += 1
        values[CLAIM_SEQ] += 1
        started_at = now.replace(tzinfo=UTC)
        return Claim._make((*values, started_at, worker_id, self.alias, waited / 1e6))

    def _lock(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, tuple[int, bool]]:
        if not claims:
            return {}
        stored = [self.stored(claim.id) for claim in claims]
        sql = LOCK.format(ids=", ".join(["%s"] * len(stored)), **self.names)
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [*stored, self.stored(worker_id)])
            return {as_uuid(pk): (seq, bool(wish)) for pk, seq, wish in cursor.fetchall()}

    def _succeed_in_place(self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes]) -> int:
        places = ", ".join(["%s"] * len(ids))
        sql = SUCCEED.format(ids=places, **self.names)
        stored = [self.stored(UUID(bytes=one)) for one in ids]
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [*stored, claim_seq, self.stored(worker_id)])
            count: int = cursor.rowcount
            return count

    def _note_progress(self, said: Sequence[Said]) -> None:
        """Row by row: of many ids a small table is read as a whole, and what others lock of it is
        waited for.
        """
        for claim, percent, note in said:
            mine = self.attempts.filter(pk=claim.id, status=Status.PENDING)
            mine.update(progress=percent, progress_note=note)

    def stored(self, one: UUID) -> Any:
        """An id as the database holds it: MariaDB has a type for it, MySQL has not."""
        return self.model._meta.pk.get_db_prep_value(one, self.connection)

    @cached_property
    def by_claim_index(self) -> str:
        """By itself, a claim sorts a small table as a whole, and locks more than it takes; and a
        look for suspects reads all that is pending.
        """
        quote = self.connection.ops.quote_name
        names = [index.name for index in self.model._meta.indexes if index.fields[:1] == ["queue"]]
        return f"FORCE INDEX ({quote(names[0])})" if names else ""
