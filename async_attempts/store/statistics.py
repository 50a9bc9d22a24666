"""Statistics: tallies of executions, minute by minute, and counts of live attempts by indexes.

No statement here reads attempts that have succeeded, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any, Final, NamedTuple

from django.db.models import Count, Min, Q, QuerySet, Sum

from ..batches import in_batches
from ..lifecycle import Status
from ..models import DatabaseNow, Tally, Worker
from ..models.tally import KEY, NUMBERS, TARGET_LENGTH
from .database import Database
from .dialects.base import Dialect
from .expressions import seconds_from_now

ROWS_IN_A_STATEMENT: Final = 200
FORGOTTEN_AT_A_TIME: Final = 5000

ENDED_BADLY: Final = """
SELECT queue, status, COUNT(*) FROM {attempt}
WHERE status IN ('failed', 'expired') AND completed_at >= %s GROUP BY queue, status
"""
"""In the words of the triage index: with parameters, SQLite doesn't see that it is the same."""


class Pending(NamedTuple):
    """Pending attempts of one queue; `due_at`: the earliest of the unclaimed ones."""

    queue: str
    unclaimed: int
    claimed: int
    suspects: int
    due_at: datetime | None


class Scheduled(NamedTuple):
    """Scheduled attempts of one queue: due ones, not yet promoted, the earliest; and later ones."""

    queue: str
    due: int
    later: int
    due_at: datetime | None


class Tallied(NamedTuple):
    """A key of tallies. `target`: the whole name, with its method."""

    queue: str
    target: str
    outcome: str


class Statistics:
    """Counts, and tallies that workers add to now and then."""

    def __init__(self, database: Database, dialect: Dialect) -> None:
        self.database = database
        self.dialect = dialect

    # --- counts

    def count_pending(self) -> list[Pending]:
        """Return the pending attempts, by queue."""
        unclaimed = Q(claimed_by=None)
        return [
            Pending._make(row)
            for row in self.database.attempts.filter(status=Status.PENDING)
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
        """Return the scheduled attempts, by queue."""
        due = Q(scheduled_at__lte=DatabaseNow())
        return [
            Scheduled._make(row)
            for row in self.database.attempts.filter(status=Status.SCHEDULED)
            .values("queue")
            .annotate(
                due=Count("pk", filter=due),
                later=Count("pk", filter=~due),
                due_at=Min("scheduled_at", filter=due),
            )
            .values_list(*Scheduled._fields)
        ]

    def count_waiting(self) -> dict[str, int]:
        """Return the number of attempts that wait for others, or for a slot, by queue."""
        rows = self.database.attempts.filter(status=Status.WAITING)
        return dict(rows.values("queue").annotate(n=Count("pk")).values_list("queue", "n"))

    def count_ended_badly(self, since: datetime) -> dict[tuple[str, str], int]:
        """Return the number that failed or expired since a moment, by queue and status."""
        moment = self.database.connection.ops.adapt_datetimefield_value(since)
        rows = self.database.fetch(ENDED_BADLY.format(**self.database.names), [moment])
        return {(queue, status): number for queue, status, number in rows}

    def live_workers(self) -> QuerySet[Worker]:
        """Return the workers that hold their lease, by the database's clock."""
        return self.database.workers.filter(state=Worker.State.LIVE, lease__gte=DatabaseNow())

    def count_live_workers(self) -> int:
        """Return the number of workers that hold their lease."""
        return self.live_workers().count()

    def tallied(self, since: datetime) -> Iterator[tuple[Tallied, tuple[Any, ...]]]:
        """Yield the tallies since a minute, added up: the `NUMBERS` of each."""
        sums = {f"sum_{name}": Sum(name) for name in NUMBERS}
        rows = (
            self.database.tallies.filter(minute__gte=since)
            .values(*Tallied._fields)
            .annotate(**sums)
        )
        for queue, target, outcome, *numbers in rows.values_list(*Tallied._fields, *sums):
            yield Tallied(queue, target, outcome), tuple(numbers)

    # --- tallies

    def add_tallies(self, counted: Mapping[Tallied, Sequence[float]]) -> None:
        """Add to this minute's tallies, all or none: the `NUMBERS` of each."""
        if counted:
            rows = sorted(_cut(counted).items())
            self.database.in_transaction(lambda: self._add(rows))

    def _add(self, rows: Sequence[tuple[Tallied, Sequence[float]]]) -> None:
        now, moment = DatabaseNow().on(self.database.vendor)
        minute = self.dialect.minute.format(now=now)
        places = f"({', '.join([minute, *['%s'] * (len(KEY) - 1 + len(NUMBERS))])})"
        head, tail = self._adding
        with self.database.connection.cursor() as cursor:
            for some in in_batches(rows, ROWS_IN_A_STATEMENT):
                params = chain.from_iterable((*moment, *key, *numbers) for key, numbers in some)
                sql = f"{head} {', '.join([places] * len(some))} {tail}"
                cursor.execute(sql, list(params))

    @cached_property
    def _adding(self) -> tuple[str, str]:
        """The statement before and after its rows."""
        quote = self.database.connection.ops.quote_name
        table = quote(Tally._meta.db_table)
        conflict, add = self.dialect.add_to_row
        sums = ", ".join(add.format(name=quote(name), table=table) for name in NUMBERS)
        key = ", ".join(map(quote, KEY))
        columns = ", ".join(map(quote, (*KEY, *NUMBERS)))
        head = f"INSERT INTO {table} ({columns}) VALUES"
        return head, f"{conflict.format(key=key)} {sums}"

    def forget_tallies(self, age: float) -> int:
        """Delete a few thousand of the tallies older than `age` seconds; returns how many."""
        old = self.database.tallies.filter(minute__lt=seconds_from_now(-age)).order_by("minute")
        if not old.exists():
            return 0

        def work() -> int:
            locked = old.select_for_update(skip_locked=True)
            ids = list(locked.values_list("pk", flat=True)[:FORGOTTEN_AT_A_TIME])
            self.dialect.delete(Tally, ids)
            return len(ids)

        return self.database.in_transaction(work)


def _cut(counted: Mapping[Tallied, Sequence[float]]) -> dict[Tallied, Sequence[float]]:
    """Return tallies by keys that fit the columns; ones that are alike then are added up."""
    cut: dict[Tallied, Sequence[float]] = {}
    for key, numbers in counted.items():
        fitting = key._replace(target=key.target[:TARGET_LENGTH])
        before = cut.get(fitting)
        cut[fitting] = [a + b for a, b in zip(before, numbers, strict=True)] if before else numbers
    return cut
