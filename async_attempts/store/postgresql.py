"""PostgreSQL: promote, claim and finish are one statement each, in autocommit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property, lru_cache
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db import transaction

from ..conf import retention
from ..payload.limits import most_args_bytes
from .base import Store
from .claims import COLUMNS, Claim, uptime
from .finishing import Result, Unrecorded, drops_result, is_plain
from .gate import passing_gate
from .limiting import Which
from .postgresql_binary import IdArray, binary_cursor, moment
from .postgresql_inserting import PostgreSQLInserting
from .rows import require_read_committed
from .transactions import refuse_callers_block

_T = TypeVar("_T")

CLAIM = """
WITH me AS (
    SELECT 1 FROM {worker} WHERE id = %(worker)s AND state = 'live' FOR KEY SHARE
), best AS MATERIALIZED (
    SELECT id FROM {attempt}
    WHERE EXISTS (SELECT 1 FROM me) AND status = 'pending' AND claimed_by IS NULL
        AND {which} AND scheduled_at <= statement_timestamp()
    ORDER BY priority DESC, scheduled_at, id
    FOR NO KEY UPDATE SKIP LOCKED LIMIT %(limit)s
)
UPDATE {attempt} SET claimed_by = %(worker)s, claim_seq = claim_seq + 1,
    num_attempts = num_attempts + 1, started_at = statement_timestamp(), reason = ''
WHERE id = ANY(ARRAY(SELECT id FROM best)) AND status || '' = 'pending' AND claimed_by IS NULL
RETURNING {columns}, extract(epoch from expires_at - statement_timestamp())::float8,
    started_at, {order}
"""
"""Claim. MATERIALIZED and the array: in a plain subquery LIMIT can claim too many rows, and a join
can scan the whole table. The worker's own row keeps a rescued worker from claiming. Here and below,
`status || ''` leaves the planner only the primary key to find rows by their ids: in a table that
was never analysed it would walk a partial index once for each of them."""

PROMOTE = """
WITH due AS MATERIALIZED (
    SELECT id FROM {attempt} WHERE status = 'scheduled' AND scheduled_at <= statement_timestamp()
    ORDER BY scheduled_at, id FOR NO KEY UPDATE SKIP LOCKED LIMIT %(limit)s
), promoted AS (
    UPDATE {attempt} SET status = 'pending'
    WHERE id = ANY(ARRAY(SELECT id FROM due)) AND status || '' = 'scheduled' RETURNING 1
)
SELECT n, CASE WHEN n > 0 THEN {gate} END FROM (SELECT count(*) AS n FROM promoted) promoted
"""
"""Promote. It may be another queue's, whose workers have seen it locked, and looked away: so this
passes the gate, if there is one."""

SUCCEED = """
WITH held AS MATERIALIZED (
    SELECT id, has_dependents FROM {attempt}
    WHERE id = ANY(%(ids)s) AND claim_seq = %(seq)s AND claimed_by = %(worker)s
        AND status || '' = 'pending'
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), succeeded AS (
    UPDATE {attempt}
    SET status = 'succeeded', completed_at = statement_timestamp(), num_crashes = 0{result}
    WHERE id = ANY(ARRAY(SELECT id FROM held))
)
SELECT count(*), array_agg(id) FILTER (WHERE has_dependents) FROM held
"""
"""Finish what succeeded under claims of one number, but for what somebody else locks. An UPDATE
alone would wait, and lock in the order of its plan."""

SUCCEED_WITH = """
UPDATE {attempt}
SET status = 'succeeded', completed_at = statement_timestamp(), num_crashes = 0,
    {result} = kept.result
FROM unnest(%(ids)s::uuid[], %(results)s::bytea[]) AS kept (id, result)
WHERE {attempt}.id = kept.id AND claimed_by = %(worker)s AND claim_seq = %(seq)s
    AND status || '' = 'pending'
"""
"""Finish what succeeded with results; the rows are locked."""

WAITED_FOR: Final = """
SELECT key FROM unnest(%s::text[]) AS key WHERE (
    SELECT true FROM {attempt}
    WHERE status = 'waiting' AND blockers = 0 AND limit_key = key LIMIT 1
)
"""
"""One look at the index for each limit key: an EXISTS may be joined, and read all that waits."""

WIDTH: Final = len(COLUMNS) + 1
KEPT_CLAIMS: Final = 256
"""Texts of the claim: for each queue, kind, and set of headers that are passed over."""


class PostgreSQLStore(PostgreSQLInserting, Store):
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
            cursor.execute(sql.format(**self.names), [worker_id])
            return cursor.fetchone() is not None

    def promote(self, limit: int = 1000) -> int:
        sql = PROMOTE.format(gate=passing_gate(self.connection) or "NULL", **self.names)
        return int(self._alone(lambda: self._execute(sql, {"limit": limit}).fetchone())[0])

    def _claim_where(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        return self._alone(lambda: self._claim_within(worker_id, which, limit))

    def _claim_within(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        params = {
            "worker": worker_id,
            "which": which.param,
            "limit": limit,
            "most_bytes": most_args_bytes(),
        }
        sql = self._claim_sql(which.sql)
        began, rows = uptime(), self._execute(sql, params).fetchall()
        if not rows:
            return []
        rows.sort(key=_best_first)
        now = rows[0][WIDTH]
        end = (moment(now), worker_id, self.alias, began)
        # Without `_make`, whose check of the length is a tenth of this.
        new = tuple.__new__
        return [new(Claim, (*row[:WIDTH], *end, (now - row[-1]) / 1e6)) for row in rows]

    def _finish(self, worker_id: UUID, results: Sequence[Result]) -> Unrecorded:
        claims = [claim for claim, outcome in results if is_plain(outcome)]
        if not claims or len(claims) < len(results):
            return super()._finish(worker_id, results)
        if len({claim.claim_seq for claim in claims}) > 1 or _deletes_any(claims):
            return super()._finish(worker_id, results)
        if len({drops_result(outcome) for _, outcome in results}) > 1:
            return super()._finish(worker_id, results)
        held = self._alone(lambda: self._succeed(worker_id, results))
        if held == len(claims):
            return Unrecorded()
        return self._sorted_out(worker_id, results, claims)

    def _succeed_alike(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> tuple[int, Sequence[UUID]]:
        params = {"worker": worker_id, "seq": claim_seq, "ids": IdArray(ids)}
        number, waited_for = self._execute(self._succeed_sql(drops), params).fetchone()
        return number, [UUID(bytes=one) for one in waited_for or ()]

    def _succeed_with(self, worker_id: UUID, claim_seq: int, results: dict[UUID, bytes]) -> None:
        sql = SUCCEED_WITH.format(result=self.quoted("sealed_result"), **self.names)
        with self.connection.cursor() as cursor:
            cursor.execute(
                sql,
                {
                    "ids": list(results),
                    "results": list(results.values()),
                    "seq": claim_seq,
                    "worker": worker_id,
                },
            )

    def _waited_for(self, keys: Sequence[str]) -> list[str]:
        with self.connection.cursor() as cursor:
            cursor.execute(WAITED_FOR.format(**self.names), [list(keys)])
            return [key for (key,) in cursor.fetchall()]

    def _alone(self, work: Callable[[], _T]) -> _T:
        """Do `work`, a statement, outside of any caller's transaction."""
        refuse_callers_block(self.alias)
        return self.redone(work)

    def _execute(self, sql: str, params: dict[str, Any]) -> Any:
        cursor = binary_cursor(self.connection)
        cursor.execute(sql, params)
        return cursor

    @cached_property
    def _claim_sql(self) -> Callable[[str], str]:
        # What claims pass over changes.
        return lru_cache(KEPT_CLAIMS)(lambda which: CLAIM.format(which=which, **self.names))

    @cached_property
    def _succeed_sql(self) -> Callable[[bool], str]:
        return cache(lambda drops: SUCCEED.format(result=self._setting_result(drops), **self.names))


def _deletes_any(claims: Sequence[Claim]) -> bool:
    """Whether the success of one of them is to delete it."""
    kept = retention()
    return kept.deletes_successes and any(kept.deletes_success_in(c.queue) for c in claims)


def _best_first(row: Sequence[Any]) -> tuple[int, int, bytes]:
    return -row[WIDTH + 1], row[WIDTH + 2], row[0]
