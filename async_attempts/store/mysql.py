"""MariaDB and MySQL: no UPDATE … RETURNING, no ON CONFLICT, and a clock in the session's zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from .base import Store
from .claiming import Which
from .claims import COLUMNS, Claim, uptime
from .dooming import as_uuid
from .mysql_inserting import MySQLInserting
from .rows import require_read_committed

SELECT = """
SELECT {columns}, TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), expires_at), UTC_TIMESTAMP(6)
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

DELETED_AT_ONCE: Final = 200

NUM_ATTEMPTS, CLAIM_SEQ = COLUMNS.index("num_attempts"), COLUMNS.index("claim_seq")


class MySQLStore(MySQLInserting, Store):
    """MariaDB and MySQL by one code path."""

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
        # In ASCII, which is compared with a column of any collation.
        text = "CONVERT(%s USING ascii)"
        self._delete_by(self.names["attempt"], "id", text, [self.stored(pk) for pk in ids])

    def delete_paces(self, keys: Sequence[bytes]) -> None:
        """Reading a small table as a whole would wait for every open call."""
        names = self.pace_names
        self._delete_by(names["pace"], names["key"], "UNHEX(%s)", [key.hex() for key in keys])

    def _delete_by(self, table: str, primary: str, form: str, keys: Sequence[Any]) -> None:
        """By the primary key: a join, as MariaDB takes no hint of an index in a DELETE."""
        for start in range(0, len(keys), DELETED_AT_ONCE):
            some = keys[start : start + DELETED_AT_ONCE]
            listed = " UNION ALL ".join([f"SELECT {form} AS k"] * len(some))
            sql = f"DELETE d FROM ({listed}) l STRAIGHT_JOIN {table} d ON d.{primary} = l.k"
            with self.connection.cursor() as cursor:
                cursor.execute(sql, some)

    def _claim_where(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        param = self.stored(which.param) if isinstance(which.param, UUID) else which.param
        by_index = "" if isinstance(which.param, UUID) else self.by_claim_index
        select = SELECT.format(which=which.sql, by_index=by_index, **self.names)

        def work() -> list[Claim]:
            if not self.live_worker(worker_id):
                return []
            began = uptime()
            with self.connection.cursor() as cursor:
                cursor.execute(select, {"which": param, "limit": limit})
                rows = cursor.fetchall()
                if not rows:
                    return []
                places = ", ".join(["%s"] * len(rows))
                sql = CLAIM.format(ids=places, **self.names)
                ids = [row[0] for row in rows]
                cursor.execute(sql, [self.stored(worker_id), rows[0][-1], *ids])
            return [self._claimed(row, worker_id, began) for row in rows]

        return self.whole(work)

    def _claimed(self, row: Sequence[Any], worker_id: UUID, began: float) -> Claim:
        """The claim behind a row as it was before."""
        values = list(row)
        values[0] = bytes.fromhex(row[0].replace("-", ""))
        values[NUM_ATTEMPTS] += 1
        values[CLAIM_SEQ] += 1
        if row[-2] is not None:
            values[-2] = row[-2] / 1e6
        values[-1] = row[-1].replace(tzinfo=UTC)
        return Claim._make((*values, worker_id, self.alias, began))

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
