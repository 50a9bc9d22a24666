"""psycopg with its own defaults: parameters bound by the server, statements prepared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

import psycopg
from django.db import connections

from async_attempts.store.claimed import ORDINARY

from .base import CONSTANTS, INTO, Floor, Row

OF_ARRAYS: Final = "FROM unnest(%s::uuid[], %b::bytea[]) AS new (id, args)"

CLAIM: Final = f"""
UPDATE async_attempts_attempt SET claimed_by = %s, claim_seq = claim_seq + 1,
    num_attempts = num_attempts + 1, started_at = statement_timestamp()
WHERE id = ANY(ARRAY(
    SELECT id FROM async_attempts_attempt
    WHERE status = 'pending' AND claimed_by IS NULL AND queue = 'default' AND {ORDINARY}
        AND scheduled_at <= statement_timestamp()
    ORDER BY priority DESC, scheduled_at, id FOR NO KEY UPDATE SKIP LOCKED LIMIT 500
))
RETURNING id, target, method_name, args, claim_seq
"""

FINISH: Final = """
UPDATE async_attempts_attempt SET status = 'succeeded', completed_at = statement_timestamp()
WHERE id = ANY(%s) AND claimed_by = %s AND status = 'pending'
"""


class PostgreSQLFloor(Floor):
    """PostgreSQL."""

    place: ClassVar = "%s"
    now: ClassVar = "statement_timestamp()"

    def connected(self) -> psycopg.Connection[Any]:
        params = connections[self.alias].get_connection_params()
        plain = {"cursor_factory": psycopg.Cursor, "prepare_threshold": 5, "context": None}
        return psycopg.connect(**params | plain, autocommit=True)

    def insert(self, row: Row) -> None:
        driver = connections[self.alias].connection
        driver.cursor().execute(INTO + self.values(), row)

    def insert_many(self, rows: Sequence[Row]) -> None:
        first = rows[0]
        ids, args = [row.id for row in rows], [row.args for row in rows]
        columns = f"id, %s, %s, %s, args, {self.now}, {self.now}, {CONSTANTS}"
        self.driver.execute(
            f"{INTO} SELECT {columns} {OF_ARRAYS}",
            [first.queue, first.target, first.method_name, ids, args],
        )

    def settle(self) -> None:
        self.driver.execute("ANALYZE async_attempts_attempt")

    def drain(self) -> None:
        worker = uuid4()
        while claims := self.claim(worker):
            self.finish(worker, claims)

    def claim(self, worker: UUID) -> list[Any]:
        """Up to 500 that are due."""
        claims: list[Any] = self.driver.execute(CLAIM, [worker]).fetchall()
        return claims

    def finish(self, worker: UUID, claims: Sequence[Any]) -> None:
        self.driver.execute(FINISH, [[claim[0] for claim in claims], worker])
