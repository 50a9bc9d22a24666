"""SQLite: one writer at a time, so a claim is one statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.db import OperationalError, transaction
from django.db.models import QuerySet

from ..encryption import HEADER_BYTES
from ..lifecycle import Status
from ..models import DatabaseNow
from ..payload.limits import most_args_bytes
from .base import Store
from .claims import COLUMNS, Claim, uptime
from .limiting import Which
from .progressing import Said
from .rows import RowId, needs_immediate
from .transactions import collided, refuse_callers_block

CLAIM = """
UPDATE {attempt} SET claimed_by = %(worker)s, claim_seq = claim_seq + 1,
    num_attempts = num_attempts + 1, started_at = %(now)s, reason = ''
WHERE id IN (
    SELECT id FROM {attempt}
    WHERE status = 'pending' AND claimed_by IS NULL AND {which} AND scheduled_at <= %(now)s
        AND EXISTS (SELECT 1 FROM {worker} WHERE id = %(worker)s AND state = 'live')
    ORDER BY priority DESC, scheduled_at, id LIMIT %(limit)s
)
RETURNING {columns}, (julianday(expires_at) - julianday(%(now)s)) * 86400.0, {order}
"""

SUCCEED = """
UPDATE {attempt} SET status = 'succeeded', completed_at = %s, num_crashes = 0{result}
WHERE id IN ({ids}) AND claim_seq = %s AND claimed_by = %s AND status = 'pending'
"""

WIDTH: Final = len(COLUMNS) + 1


class SQLiteStore(Store):
    """The embedded default; writers exclude each other, so the ORM's form of the rest holds.

    A worker looks before it writes: else an idle one would keep every enqueue waiting.
    """

    no_bytes = "x''"

    def promote(self, limit: int = 1000) -> int:
        refuse_callers_block(self.alias)
        due = self.attempts.filter(status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow())
        return super().promote(limit) if due.exists() else 0

    def _claim_where(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        refuse_callers_block(self.alias)
        if not self._any(which):
            return []
        return self.redone(lambda: self._claim_within(worker_id, which, limit))

    def _claim_within(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        _, (now,) = DatabaseNow().on("sqlite")
        began = uptime()
        param = which.param.hex if isinstance(which.param, UUID) else which.param
        params = {
            "worker": worker_id.hex,
            "which": param,
            "limit": limit,
            "now": now,
            "most_bytes": most_args_bytes(),
        }
        sql = CLAIM.format(which=which.sql, **self.names)

        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            rows = sorted(cursor.fetchall(), key=_best_first)
        moment = datetime.fromisoformat(now)
        end = (moment.replace(tzinfo=UTC), worker_id, self.alias, began)
        return [
            Claim._make(
                (bytes.fromhex(row[0]), *row[1:WIDTH], *end, (moment - row[-1]).total_seconds())
            )
            for row in rows
        ]

    def _succeed_in_place(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> int:
        _, now = DatabaseNow().on("sqlite")
        noted = self._setting_result(drops)
        sql = SUCCEED.format(ids=", ".join(["%s"] * len(ids)), result=noted, **self.names)
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [*now, *(one.hex() for one in ids), claim_seq, worker_id.hex])
            count: int = cursor.rowcount
            return count

    def try_to_write_progress(self, said: Sequence[Said]) -> tuple[list[Said], list[Said]]:
        """All are left while anybody else writes."""
        with self.connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            (patience,) = cursor.fetchone()
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                with transaction.atomic(self.alias, durable=True):
                    return self.write_progress_within(said), []
            except OperationalError as error:
                if not collided(error):
                    raise
                return [], list(said)
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {patience}")

    def read_header(self, one: QuerySet[Any], column: str) -> bytes:
        """Without its value, which SQLite loads for every function of SQL that reads of it."""
        meta = one.model._meta
        if (row_id := one.values_list(RowId(), flat=True).first()) is None:
            return b""
        name = str(meta.get_field(column).column)
        driver: sqlite3.Connection = self.connection.connection
        with driver.blobopen(meta.db_table, name, row_id, readonly=True) as value:
            return value.read(HEADER_BYTES)

    def isolation_problem(self) -> str | None:
        connection: Any = self.connection
        if connection.transaction_mode == "IMMEDIATE":
            return None
        return needs_immediate(self.alias)


def _best_first(row: Sequence[Any]) -> tuple[int, str, str]:
    return -row[-2], row[-1], row[0]
