"""PostgreSQL: claim and finish are one statement each, in autocommit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from ..lifecycle import Succeeded
from ..models import AbstractAttempt, Worker
from .base import Store
from .claims import COLUMNS, Claim
from .finishing import Result
from .rows import require_read_committed
from .transactions import refuse_callers_block

CLAIM = """
WITH me AS (
    SELECT 1 FROM {worker} WHERE id = %(worker)s AND state = 'live' FOR KEY SHARE
), best AS MATERIALIZED (
    SELECT id FROM {attempt}
    WHERE EXISTS (SELECT 1 FROM me) AND status = 'pending' AND claimed_by IS NULL
        AND queue = %(queue)s AND scheduled_at <= statement_timestamp() AND {which}
    ORDER BY priority DESC, scheduled_at, id
    FOR NO KEY UPDATE SKIP LOCKED LIMIT %(limit)s
)
UPDATE {attempt} SET claimed_by = %(worker)s, claim_seq = claim_seq + 1,
    num_attempts = num_attempts + 1, started_at = statement_timestamp()
WHERE id = ANY(ARRAY(SELECT id FROM best)) AND status = 'pending' AND claimed_by IS NULL
RETURNING {columns}, coalesce(expires_at <= statement_timestamp(), false), priority, scheduled_at
"""
"""Claim. MATERIALIZED and the array: in a plain subquery LIMIT can claim too many rows, and a join
can scan the whole table. The worker's own row keeps a rescued worker from claiming."""

SUCCEED = """
WITH ended AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(seqs)s::bigint[]) AS ended (id, claim_seq)
), held AS MATERIALIZED (
    SELECT a.id FROM {attempt} a JOIN ended USING (id, claim_seq)
    WHERE a.claimed_by = %(worker)s AND a.status = 'pending'
    ORDER BY a.id FOR NO KEY UPDATE OF a
)
UPDATE {attempt} a SET status = 'succeeded', completed_at = statement_timestamp(), num_crashes = 0
FROM ended WHERE a.id = ANY(ARRAY(SELECT id FROM held)) AND a.id = ended.id
    AND a.claim_seq = ended.claim_seq AND a.claimed_by = %(worker)s AND a.status = 'pending'
RETURNING a.id
"""
"""Finish what succeeded, locking in the order of ids; returns what was still held."""

FEW: Final = 8


class PostgreSQLStore(Store):
    """PostgreSQL 14 and newer, at READ COMMITTED."""

    def isolation_problem(self) -> str | None:
        # psycopg says OPTIONS['isolation_level'] in its BEGIN: in autocommit nothing shows it.
        with transaction.atomic(self.alias), self.connection.cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            return require_read_committed(self.alias, cursor.fetchone()[0])

    def live_worker(self, worker_id: UUID) -> bool:
        """A key-share lock: it conflicts with a rescue's lock only, not with renewals."""
        sql = "SELECT 1 FROM {worker} WHERE id = %s AND state = 'live' FOR KEY SHARE"
        with self.connection.cursor() as cursor:
            cursor.execute(sql.format(**self._names), [worker_id])
            return cursor.fetchone() is not None

    def _claim(self, worker_id: UUID, queue: str, limit: int, suspects: bool) -> list[Claim]:
        sql = self._claim_suspects if suspects else self._claim_others
        rows = self._execute(sql, {"worker": worker_id, "queue": queue, "limit": limit})
        width = len(COLUMNS) + 1
        rows.sort(key=lambda row: (-row[width], row[width + 1], row[0]))
        return [Claim._make((*row[:width], self.alias)) for row in rows]

    def finish(self, worker_id: UUID, results: Sequence[Result]) -> list[Claim]:
        plain = Succeeded()
        if not results or any(outcome != plain for _, outcome in results):
            return super().finish(worker_id, results)
        claims = [claim for claim, _ in results]
        params = {
            "worker": worker_id,
            "ids": [claim.id for claim in claims],
            "seqs": [claim.claim_seq for claim in claims],
        }
        held = {row[0] for row in self._execute(self._succeeded, params)}
        return [claim for claim in claims if claim.id not in held]

    def _statement(self, attempts: Sequence[AbstractAttempt], keyed: bool) -> tuple[str, list[Any]]:
        """Many rows by an array for each column that differs: the text stays short."""
        if len(attempts) < FEW:
            return super()._statement(attempts, keyed)
        columns = self.columns
        by_column = zip(*map(columns.values_of, attempts), strict=True)
        places: list[str] = []
        params: list[Any] = []
        arrays = []
        for column, values in zip(columns.all, by_column, strict=True):
            if all(value is values[0] or value == values[0] for value in values):
                place, given = columns.placed(column, values[0])
            elif any(hasattr(value, "resolve_expression") for value in values):
                return super()._statement(attempts, keyed)
            else:
                place, given = f"u.{column.name}", ()
                arrays.append((column, values))
            places.append(place)
            params += given
        names = ", ".join(column.name for column, _ in arrays)
        types = ", ".join(f"%s::{c.field.db_type(self.connection)}[]" for c, _ in arrays)
        params += [
            [None if v is None else columns.prepared(column, v) for v in values]
            for column, values in arrays
        ]
        source = f"SELECT {', '.join(places)} FROM unnest({types}) AS u ({names})"
        return self._insert(source, keyed), params

    def _execute(self, sql: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
        refuse_callers_block(self.alias)

        def work() -> list[tuple[Any, ...]]:
            with self.connection.cursor() as cursor:
                cursor.execute(sql, params)
                rows: list[tuple[Any, ...]] = cursor.fetchall()
                return rows

        return self.redone(work)

    @cached_property
    def _names(self) -> dict[str, str]:
        quote = self.connection.ops.quote_name
        return {
            "attempt": quote(self.model._meta.db_table),
            "worker": quote(Worker._meta.db_table),
            "columns": ", ".join(self.quoted(name) for name in COLUMNS),
        }

    @cached_property
    def _claim_others(self) -> str:
        return CLAIM.format(which="num_crashes = 0", **self._names)

    @cached_property
    def _claim_suspects(self) -> str:
        return CLAIM.format(which="num_crashes > 0", **self._names)

    @cached_property
    def _succeeded(self) -> str:
        return SUCCEED.format(**self._names)
