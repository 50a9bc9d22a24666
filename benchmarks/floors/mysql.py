"""mysqlclient: MariaDB and MySQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final
from uuid import uuid4

import MySQLdb
from django.db import connections

from async_attempts.store.claimed import ORDINARY

from .base import INTO, Floor, Row, batches

BEST: Final = f"""
SELECT id, target, method_name, args, claim_seq FROM async_attempts_attempt
WHERE status = 'pending' AND claimed_by IS NULL AND queue = 'default' AND {ORDINARY}
    AND scheduled_at <= UTC_TIMESTAMP(6)
ORDER BY priority DESC, scheduled_at, id LIMIT 500 FOR UPDATE SKIP LOCKED
"""

CLAIM: Final = """
UPDATE async_attempts_attempt SET claimed_by = %s, claim_seq = claim_seq + 1,
    num_attempts = num_attempts + 1, started_at = UTC_TIMESTAMP(6)
WHERE id IN %s
"""

FINISH: Final = """
UPDATE async_attempts_attempt SET status = 'succeeded', completed_at = UTC_TIMESTAMP(6)
WHERE id IN %s AND claimed_by = %s AND status = 'pending'
"""


class MySQLFloor(Floor):
    """MariaDB and MySQL."""

    place: ClassVar = "%s"
    now: ClassVar = "UTC_TIMESTAMP(6)"

    def connected(self) -> Any:
        driver = MySQLdb.connect(**connections[self.alias].get_connection_params())
        driver.autocommit(True)
        driver.query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        return driver

    def insert(self, row: Row) -> None:
        connections[self.alias].connection.cursor().execute(INTO + self.values(), row)

    def insert_many(self, rows: Sequence[Row]) -> None:
        cursor = self.driver.cursor()
        self.driver.begin()
        for batch in batches(rows):
            cursor.execute(INTO + self.values(len(batch)), [v for row in batch for v in row])
        self.driver.commit()

    def settle(self) -> None:
        """InnoDB counts its rows as they come in."""

    def drain(self) -> None:
        worker = uuid4()
        cursor = self.driver.cursor()
        while True:
            self.driver.begin()
            cursor.execute(BEST)
            ids = [claim[0] for claim in cursor.fetchall()]
            if ids:
                cursor.execute(CLAIM, [worker.hex, ids])
            self.driver.commit()
            if not ids:
                return
            cursor.execute(FINISH, [ids, worker.hex])
