"""Count the attempts that haven't ended, and those that ended badly of late, by their indexes.

No statement here reads what has succeeded, whatever there is of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db.models import Count, Min, Q, QuerySet, Sum

from ..lifecycle import Status
from ..models import DatabaseNow, Worker
from ..models.tally import NUMBERS
from .depending import Depending
from .tallying import Tallied

ENDED_BADLY: Final = """
SELECT queue, status, COUNT(*) FROM {attempt}
WHERE status IN ('failed', 'expired') AND completed_at >= %s GROUP BY queue, status
"""
"""In the words of the triage index: with parameters, SQLite doesn't see that it is the same."""


class Pending(NamedTuple):
    """Of one queue: what is claimed, and what waits for that; `due_at`: the earliest of those."""

    queue: str
    unclaimed: int
    claimed: int
    suspects: int
    due_at: datetime | None


class Scheduled(NamedTuple):
    """Of one queue: what is due and not yet promoted, with the earliest of it, and what is not."""

    queue: str
    due: int
    later: int
    due_at: datetime | None


class Counting(Depending):
    """Reads only."""

    def count_pending(self) -> list[Pending]:
        """What is pending, by queue."""
        unclaimed = Q(claimed_by=None)
        return [
            Pending._make(row)
            for row in self.attempts.filter(status=Status.PENDING)
            .values("queue")
            .annotate(
                unclaimed=Count("pk", filter=unclaimed),
                claimed=Count("pk", filter=~unclaimed),
                suspects=Count("pk", filter=unclaimed & Q(num_crashes__gt=0)),
                due_at=Min("scheduled_at", filter=unclaimed),
            )
            .values_list(*Pending._fields)
        ]

    def count_scheduled(self) -> list[Scheduled]:
        """What is scheduled, by queue."""
        due = Q(scheduled_at__lte=DatabaseNow())
        return [
            Scheduled._make(row)
            for row in self.attempts.filter(status=Status.SCHEDULED)
            .values("queue")
            .annotate(
                due=Count("pk", filter=due),
                later=Count("pk", filter=~due),
                due_at=Min("scheduled_at", filter=due),
            )
            .values_list(*Scheduled._fields)
        ]

    def count_waiting(self) -> dict[str, int]:
        """How many wait for others, or for a place of their limit key, by queue."""
        rows = self.attempts.filter(status=Status.WAITING)
        return dict(rows.values("queue").annotate(n=Count("pk")).values_list("queue", "n"))

    def count_ended_badly(self, since: datetime) -> dict[tuple[str, str], int]:
        """How many failed or expired since a moment and still are so, by queue and status."""
        moment = self.connection.ops.adapt_datetimefield_value(since)
        with self.connection.cursor() as cursor:
            cursor.execute(ENDED_BADLY.format(**self.names), [moment])
            return {(queue, status): number for queue, status, number in cursor.fetchall()}

    def live_workers(self) -> QuerySet[Worker]:
        """Those that hold their lease, by the database's clock."""
        return self.workers.filter(state=Worker.State.LIVE, lease__gte=DatabaseNow())

    def count_live_workers(self) -> int:
        """How many hold their lease."""
        return self.live_workers().count()

    def tallied(self, since: datetime) -> Iterator[tuple[Tallied, tuple[Any, ...]]]:
        """The tallies since a minute, added up: the `NUMBERS` of each."""
        sums = {f"sum_{name}": Sum(name) for name in NUMBERS}
        rows = self.tallies.filter(minute__gte=since).values(*Tallied._fields).annotate(**sums)
        for queue, target, outcome, *numbers in rows.values_list(*Tallied._fields, *sums):
            yield Tallied(queue, target, outcome), tuple(numbers)
