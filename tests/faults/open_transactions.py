"""Callers whose transactions stay open after they have touched what a worker is performing."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from django.db import Error, connections, transaction

from async_attempts.exceptions import InvalidTransition
from async_attempts.models import get_attempt_model
from tests.faults.fleet import rows

OPEN: Final = (1.0, 75.0)
"""Seconds, as of a view with ATOMIC_REQUESTS that waits for a third party."""

LOCKED: Final = (1.0, 5.0)
"""Seconds for which a migration has the table for itself."""

BETWEEN: Final = (10.0, 30.0)
"""Seconds from one lock of the table to the next."""


def save(row: Any) -> None:
    row.priority = 1
    row.save()


def lock(row: Any) -> None:
    rows(row._state.db).select_for_update().get(pk=row.pk)


TOUCHES: Final[dict[str, Callable[[Any], object]]] = {
    "expire": lambda row: row.expire("by a caller"),
    "request_cancel": lambda row: row.request_cancel(),
    "save": save,
    "lock": lock,
}


class OpenTransactions:
    """Threads that touch a running attempt, or lock the table, and don't commit for a while.

    `touched` are the attempts that may end as expired, as somebody has asked for it.
    """

    def __init__(self, alias: str, seed: int, done: Counter[str], callers: int = 3) -> None:
        self.touched: set[UUID] = set()
        self._alias = alias
        self._done = done
        self._over = threading.Event()
        works = [self._touch_one] * callers + [self._lock_table]
        self._threads = [
            threading.Thread(target=self._repeat, args=(work, random.Random(seed + number)))
            for number, work in enumerate(works)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Commit what is open."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, work: Callable[[random.Random], None], chosen: random.Random) -> None:
        while not self._over.wait(0.1):
            try:
                work(chosen)
            except InvalidTransition:
                self._done["touched too late"] += 1
            except (Error, get_attempt_model().DoesNotExist):
                connections[self._alias].close()
        connections[self._alias].close()

    def _touch_one(self, chosen: random.Random) -> None:
        running = rows(self._alias).filter(status="pending", claimed_by__isnull=False)
        found = list(running[:50])
        if not found:
            return
        row, how = chosen.choice(found), chosen.choice(sorted(TOUCHES))
        self.touched.add(row.pk)
        with transaction.atomic(self._alias):
            TOUCHES[how](row)
            self._done[f"held open after {how}"] += 1
            self._over.wait(chosen.uniform(*OPEN))

    def _lock_table(self, chosen: random.Random) -> None:
        if self._over.wait(chosen.uniform(*BETWEEN)):
            return
        connection = connections[self._alias]
        table = connection.ops.quote_name(get_attempt_model()._meta.db_table)
        with transaction.atomic(self._alias), connection.cursor() as cursor:
            # As CREATE INDEX takes it.
            cursor.execute(f"LOCK TABLE {table} IN SHARE MODE")
            self._done["table locked"] += 1
            self._over.wait(chosen.uniform(*LOCKED))
