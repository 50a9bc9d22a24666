"""Python's own sqlite3."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import ClassVar, Final
from uuid import uuid4

from django.db import connections

from async_attempts.store.claimed import ORDINARY

from .base import INTO, Floor, Row, batches

CLAIM: Final = f"""
UPDATE async_attempts_attempt SET claimed_by = ?, claim_seq = claim_seq + 1,
    num_attempts = num_attempts + 1, started_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
WHERE id IN (
    SELECT id FROM async_attempts_attempt
    WHERE status = 'pending' AND claimed_by IS NULL AND queue = 'default' AND {ORDINARY}
        AND scheduled_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')
    ORDER BY priority DESC, scheduled_at, id LIMIT 500
)
RETURNING id, target, method_name, args, claim_seq
"""

FINISH: Final = """
UPDATE async_attempts_attempt SET status = 'succeeded',
    completed_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
WHERE id = ? AND claimed_by = ? AND status = 'pending'
"""


class SQLiteFloor(Floor):
    """SQLite, in WAL mode as the file is already."""

    place: ClassVar = "?"
    now: ClassVar = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

    def connected(self) -> sqlite3.Connection:
        return sqlite3.connect(connections[self.alias].settings_dict["NAME"], isolation_level=None)

    def insert(self, row: Row) -> None:
        connections[self.alias].connection.execute(INTO + self.values(), row)

    def insert_many(self, rows: Sequence[Row]) -> None:
        self.driver.execute("BEGIN IMMEDIATE")
        for batch in batches(rows):
            values = [value for row in batch for value in row]
            self.driver.execute(INTO + self.values(len(batch)), values)
        self.driver.execute("COMMIT")

    def settle(self) -> None:
        """SQLite gathers statistics only when asked, which few do."""

    def drain(self) -> None:
        worker = uuid4().hex
        while claims := self.driver.execute(CLAIM, [worker]).fetchall():
            self.driver.execute("BEGIN IMMEDIATE")
            self.driver.executemany(FINISH, [(claim[0], worker) for claim in claims])
            self.driver.execute("COMMIT")
