"""PostgreSQL: promote, claim and finish are one statement each, in autocommit.

They speak psycopg's binary format, so that what a claim brings back is taken as it comes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, lru_cache
from typing import Any, ClassVar, Final
from uuid import UUID

import psycopg
from django.db import transaction
from psycopg.adapt import Buffer, Dumper
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryLoader
from psycopg.types.string import ByteaBinaryLoader

from ...payload.limits import most_args_bytes
from ..claimed import COLUMNS, Claim, Selection, uptime
from ..notifications import gate_of
from .base import Dialect, require_read_committed

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

LIMIT_KEYS_WAITED_FOR: Final = """
SELECT key FROM unnest(%s::text[]) AS key WHERE (
    SELECT true FROM {attempt}
    WHERE status = 'waiting' AND blockers = 0 AND limit_key = key LIMIT 1
)
"""
"""One look at the index for each limit key: an EXISTS may be joined, and read all that waits."""

WIDTH: Final = len(COLUMNS) + 1
KEPT_CLAIMS: Final = 256
"""Texts of the claim: for each queue, kind, and set of headers that are passed over."""

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_UUID_OID: Final = types["uuid"].oid
_HEADER: Final = struct.Struct(">iiIii")
_LENGTH_OF_ID: Final = (16).to_bytes(4)


class IdArray:
    """The bytes of ids, as one parameter of the type uuid[]."""

    __slots__ = ("ids",)

    def __init__(self, ids: Sequence[bytes]) -> None:
        self.ids = ids


class _IdArrayDumper(Dumper):
    """PostgreSQL's `array_recv`: dimensions, no nulls, the element's type, length, lower bound."""

    format = Format.BINARY
    oid = types["uuid"].array_oid

    def dump(self, obj: IdArray) -> Buffer:
        header = _HEADER.pack(1, 0, _UUID_OID, len(obj.ids), 1)
        return header + b"".join([_LENGTH_OF_ID + one for one in obj.ids])


class PostgreSQL(Dialect):
    """PostgreSQL 14 and newer, at READ COMMITTED."""

    minute: ClassVar = "date_trunc('minute', STATEMENT_TIMESTAMP())"
    seconds_until: ClassVar = (
        "CASE WHEN {next} <= {now} THEN 0.0"
        " WHEN isfinite({next}) THEN EXTRACT(EPOCH FROM {next} - {now})::float8 END"
    )
    names_to_flags: ClassVar = "json_object_agg(name, is_paused)::text"
    finishes_alone: ClassVar = True

    def isolation_problem(self) -> str | None:
        database = self.database
        # psycopg says OPTIONS['isolation_level'] in its BEGIN: in autocommit nothing shows it.
        with transaction.atomic(database.alias):
            [(level,)] = database.fetch("SHOW transaction_isolation")
        return require_read_committed(database.alias, level)

    def promote(self, limit: int) -> int:
        database = self.database
        sql = PROMOTE.format(gate=gate_of(database.alias) or "NULL", **database.names)

        def work() -> int:
            return int(self._execute(sql, {"limit": limit}).fetchone()[0])

        return database.in_autocommit(work)

    def claim(self, worker_id: UUID, which: Selection, limit: int) -> list[Claim]:
        return self.database.in_autocommit(lambda: self.claim_within(worker_id, which, limit))

    def claim_within(self, worker_id: UUID, which: Selection, limit: int) -> list[Claim]:
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
        end = (moment(now), worker_id, self.database.alias, began)
        # Without `_make`, whose check of the length is a tenth of this.
        new = tuple.__new__
        return [new(Claim, (*row[:WIDTH], *end, (now - row[-1]) / 1e6)) for row in rows]

    def succeed(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> tuple[int, Sequence[UUID]]:
        params = {"worker": worker_id, "seq": claim_seq, "ids": IdArray(ids)}
        number, waited_for = self._execute(self._succeed_sql(drops), params).fetchone()
        return number, [UUID(bytes=one) for one in waited_for or ()]

    def succeed_with(self, worker_id: UUID, claim_seq: int, results: dict[UUID, bytes]) -> None:
        database = self.database
        sql = SUCCEED_WITH.format(result=database.quoted("sealed_result"), **database.names)
        params: dict[str, Any] = {
            "ids": list(results),
            "results": list(results.values()),
            "seq": claim_seq,
            "worker": worker_id,
        }
        with database.connection.cursor() as cursor:
            cursor.execute(sql, params)

    def limit_keys_waited_for(self, keys: Sequence[str]) -> list[str]:
        sql = LIMIT_KEYS_WAITED_FOR.format(**self.database.names)
        return [key for (key,) in self.database.fetch(sql, [list(keys)])]

    def selection_of(self, keys: Sequence[Any]) -> Selection:
        return Selection("id = ANY(%(which)s::uuid[])", [UUID(str(key)) for key in keys])

    def _execute(self, sql: str, params: dict[str, Any]) -> Any:
        cursor = binary_cursor(self.database.connection)
        cursor.execute(sql, params)
        return cursor

    @cached_property
    def _claim_sql(self) -> Callable[[str], str]:
        # The headers that claims pass over change.
        names = self.database.names
        return lru_cache(KEPT_CLAIMS)(lambda which: CLAIM.format(which=which, **names))

    @cached_property
    def _succeed_sql(self) -> Callable[[bool], str]:
        names = self.database.names
        return cache(lambda drops: SUCCEED.format(result=self.setting_result(drops), **names))


def _best_first(row: Sequence[Any]) -> tuple[int, int, bytes]:
    return -row[WIDTH + 1], row[WIDTH + 2], row[0]


def binary_cursor(connection: Any) -> Any:
    """A cursor of Django's, whose parameters are bound by the server and whose results are binary.

    Ids come as 16 bytes, moments as microseconds since `EPOCH`.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors:
        cursor: psycopg.Cursor[Any] = psycopg.Cursor(connection.connection)
    cursor.format = Format.BINARY
    cursor.adapters.register_loader("uuid", ByteaBinaryLoader)
    cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
    cursor.adapters.register_dumper(IdArray, _IdArrayDumper)
    return connection._prepare_cursor(cursor)


def moment(micros: int) -> datetime:
    """The aware datetime behind a binary timestamp."""
    return EPOCH + timedelta(microseconds=micros)
