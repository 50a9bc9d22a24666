"""SQLite: one writer at a time, so a claim is one statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

from django.db import OperationalError, transaction
from django.db.models import QuerySet
from django.db.models.lookups import In

from ...encryption import HEADER_BYTES
from ...lifecycle import Status
from ...models import DatabaseNow
from ...payload.limits import most_args_bytes
from ..claimed import COLUMNS, Claim, Selection, uptime
from ..database import placeholders
from ..expressions import RowId
from ..transactions import collided, refuse_callers_block
from .base import Dialect

_T = TypeVar("_T")

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


class SQLite(Dialect):
    """The embedded default; writers exclude each other, so the ORM's form of the rest holds.

    A worker looks before it writes: else an idle one would keep every enqueue waiting.
    """

    minute: ClassVar = "strftime('%%Y-%%m-%%d %%H:%%M:00', {now})"
    seconds_until: ClassVar = (
        "CASE WHEN {next} <= {now} THEN 0.0"
        " ELSE (julianday({next}) - julianday({now})) * 86400.0 END"
    )
    names_to_flags: ClassVar = "json_group_object(name, is_paused)"

    def promote(self, limit: int) -> int:
        database = self.database
        refuse_callers_block(database.alias)
        due = database.attempts.filter(status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow())
        return super().promote(limit) if due.exists() else 0

    def claim(self, worker_id: UUID, which: Selection, limit: int) -> list[Claim]:
        refuse_callers_block(self.database.alias)
        if not self.any_due(which):
            return []
        return self.database.retry_on_conflict(lambda: self.claim_within(worker_id, which, limit))

    def claim_within(self, worker_id: UUID, which: Selection, limit: int) -> list[Claim]:
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
        with self.database.connection.cursor() as cursor:
            cursor.execute(CLAIM.format(which=which.sql, **self.database.names), params)
            rows = sorted(cursor.fetchall(), key=_best_first)
        moment = datetime.fromisoformat(now)
        end = (moment.replace(tzinfo=UTC), worker_id, self.database.alias, began)
        return [
            Claim._make(
                (bytes.fromhex(row[0]), *row[1:WIDTH], *end, (moment - row[-1]).total_seconds())
            )
            for row in rows
        ]

    def succeed(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> tuple[int, None]:
        _, now = DatabaseNow().on("sqlite")
        parts = {"ids": placeholders(ids), "result": self.setting_result(drops)}
        sql = SUCCEED.format(**parts, **self.database.names)
        with self.database.connection.cursor() as cursor:
            cursor.execute(sql, [*now, *(one.hex() for one in ids), claim_seq, worker_id.hex])
            return int(cursor.rowcount), None

    def without_waiting(self, work: Callable[[], _T]) -> _T | None:
        with self.database.connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            (patience,) = cursor.fetchone()
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                with transaction.atomic(self.database.alias, durable=True):
                    return work()
            except OperationalError as error:
                if not collided(error):
                    raise
                return None
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {patience}")

    def read_header(self, one: QuerySet[Any], column: str) -> bytes:
        """Read the blob itself: every SQL function that reads of it would load the whole value."""
        meta = one.model._meta
        if (row_id := one.values_list(RowId(), flat=True).first()) is None:
            return b""
        name = str(meta.get_field(column).column)
        driver: sqlite3.Connection = self.database.connection.connection
        with driver.blobopen(meta.db_table, name, row_id, readonly=True) as value:
            return value.read(HEADER_BYTES)

    def isolation_problem(self) -> str | None:
        connection: Any = self.database.connection
        if connection.transaction_mode == "IMMEDIATE":
            return None
        return needs_immediate(self.database.alias)

    @property
    def raw_key(self) -> Any:
        return RowId()

    def with_raw_keys(self, keys: Sequence[Any]) -> Any:
        return self.database.attempts.filter(In(self.raw_key, keys))

    def selection_of(self, keys: Sequence[Any]) -> Selection:
        return Selection(f"rowid IN ({', '.join(str(int(key)) for key in keys)})", None)


def needs_immediate(alias: str) -> str:
    """Return what is wrong with SQLite's own transaction mode."""
    return (
        f"DATABASES[{alias!r}]: SQLite needs OPTIONS['transaction_mode'] = 'IMMEDIATE': else a "
        "transaction that reads and then writes fails at once when another one writes."
    )


def _best_first(row: Sequence[Any]) -> tuple[int, str, str]:
    return -row[-2], row[-1], row[0]
