"""What workers take while they live: connections and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import psutil
import psycopg

from tests.worker.helpers.processes import WorkerProcess

INTERVAL: Final = 2.0
SETTLED: Final = 60.0
"""Seconds of a child's life after which its memory should not grow any more."""

MOST_GROWTH: Final = 1.15
MEGABYTE: Final = 2**20


class Measures:
    """Looks at the server and at the children now and then."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._options = {
            "host": settings["OPTIONS"].get("host") or settings["HOST"],
            "port": settings["PORT"] or None,
            "user": settings["USER"],
            "dbname": settings["NAME"],
        }
        self._next = 0.0
        self._began = time.monotonic()
        self.connections: list[tuple[float, int]] = []
        self.memory: dict[tuple[int, float], list[tuple[float, int]]] = {}
        self.left_over = 0

    def take(self, workers: Iterable[WorkerProcess]) -> None:
        """Measure, if it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + INTERVAL
        with suppress(psycopg.Error):
            self.connections.append((now - self._began, self._count()))
        for worker in workers:
            for child in worker.children():
                with suppress(psutil.NoSuchProcess):
                    of_child = self.memory.setdefault((child.pid, child.create_time()), [])
                    of_child.append((now - self._began, child.memory_info().rss))

    def take_last(self, alias: str) -> None:
        """How many connections workers have left behind when all have ended."""
        deadline = time.monotonic() + 10
        while (left := self._count() - 1) > 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.left_over = max(0, left)

    def complaints(self) -> list[str]:
        found = [f"LEAK: {self.left_over} connections are left"] if self.left_over else []
        third = len(self.connections) // 3
        if third >= 10:
            early = self._highest(self.connections[:third])
            late = self._highest(self.connections[-third:])
            if late > early * 1.5 + 5:
                found.append(f"LEAK: connections grew from {early} to {late}")
        if (growth := self._growth()) > MOST_GROWTH:
            found.append(f"LEAK: the memory of settled children grew to {growth:.2f} times")
        return found

    def report(self) -> str:
        lives = [[rss for _, rss in life] for life in self.memory.values() if life]
        if not lives or not self.connections:
            return "too short to measure"
        numbers = [number for _, number in self.connections]
        first, last = ([life[at] / MEGABYTE for life in lives] for at in (0, -1))
        return (
            f"connections: median {statistics.median(numbers):.0f}, highest {max(numbers)}, "
            f"left at the end {self.left_over}\n"
            f"memory of {len(lives)} children, MB: median at first {statistics.median(first):.0f}, "
            f"at last {statistics.median(last):.0f}, highest at last {max(last):.0f}, "
            f"growth when settled {self._growth():.2f}"
        )

    def _growth(self) -> float:
        """How many times as large as when settled the children are at the end of their lives."""
        settled = []
        for life in filter(None, self.memory.values()):
            later = [rss for at, rss in life if at - life[0][0] > SETTLED]
            if len(later) >= 10:
                settled.append(statistics.median(later[-3:]) / statistics.median(later[:3]))
        return statistics.median(settled) if settled else 1.0

    def _highest(self, measured: list[tuple[float, int]]) -> int:
        return max(number for _, number in measured)

    def _count(self) -> int:
        with psycopg.connect(**self._options, connect_timeout=2) as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            ).fetchone()
        return int(found[0]) if found else 0
