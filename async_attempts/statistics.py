"""Statistics of live attempts and past executions, for dashboards, alarms and autoscalers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final, Self

from asgiref.sync import sync_to_async

from .conf import settings
from .exceptions import InvalidOption
from .models import home_database
from .models.tally import BUCKETS, OUTCOMES
from .store import Store, store_for

HOUR: Final = timedelta(hours=1)
LONGEST: Final = timedelta(days=30)

Counted = tuple[str, Sequence[Any]]
"""An outcome, and its sums."""


@dataclass(frozen=True, slots=True)
class Executions:
    """The executions within the window, as workers have counted them.

    Each execution counts once, so an attempt that was retried twice and then succeeded is three of
    them. Times are in seconds, and None when there was no execution. `mean_wait`: from when it was
    due to its claim. `mean_run`, `p50_run`, `p95_run`: how long they took; the percentiles are
    interpolated within the buckets of a histogram, whose bounds are 1, 3, 10, 30, … ms up to
    100 s: so they are near the truth by a factor of 3 at worst, and never more than 100.
    """

    succeeded: int = 0
    retried: int = 0
    failed: int = 0
    expired: int = 0
    per_minute: float = 0.0
    mean_wait: float | None = None
    mean_run: float | None = None
    p50_run: float | None = None
    p95_run: float | None = None

    @property
    def total(self) -> int:
        """The number of executions."""
        return self.succeeded + self.retried + self.failed + self.expired

    @classmethod
    def of(cls, counted: Iterable[Counted], minutes: float) -> Self:
        """Return the executions of these tallies, which cover `minutes`."""
        outcomes = dict.fromkeys(OUTCOMES, 0)
        sums: list[float] = [0.0] * (2 + len(BUCKETS))
        for outcome, (count, *others) in counted:
            outcomes[outcome] = outcomes.get(outcome, 0) + int(count)
            sums = [a + float(b) for a, b in zip(sums, others, strict=True)]
        wait, run, *histogram = sums
        number = sum(histogram)
        if not number:
            return cls()
        return cls(
            **{name: outcomes[name] for name in OUTCOMES},
            per_minute=number / minutes,
            mean_wait=wait / number,
            mean_run=run / number,
            p50_run=percentile(histogram, 0.5),
            p95_run=percentile(histogram, 0.95),
        )


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue, as it is now.

    `scheduled`: due later. `pending`: due and not claimed; `suspects`: those of them that were in
    flight when a worker died. `running`: claimed. `waiting`: for other attempts, or for a slot of
    their limit key. `failed`, `expired`: became so within the window, and still are. `latency`: the
    seconds for which the oldest pending attempt has been due, 0.0 if there is none.
    """

    scheduled: int = 0
    pending: int = 0
    suspects: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0
    expired: int = 0
    latency: float = 0.0
    executions: Executions = Executions()


@dataclass(frozen=True, slots=True)
class Stats:
    """The statistics of one database. `taken_at`: by its clock. `workers`: live processes.

    `queues`: by name, all that are declared or have attempts. `targets`: the executions within the
    window, by dotted name with the method. `missing_keys`: the number of attempts that wait for a
    key, by its id, since a worker tried one of them without that key; or for a release that knows
    their form, by its name, such as "format 3".
    """

    taken_at: datetime
    window: timedelta
    workers: int
    queues: Mapping[str, QueueStats]
    targets: Mapping[str, Executions]
    missing_keys: Mapping[str, int] = field(default_factory=dict)


def stats(*, database: str | None = None, window: timedelta = HOUR) -> Stats:
    """Count what hasn't ended now, and add up what was executed within the last `window`.

    A few statements on the indexes of live attempts: the number of successes doesn't matter.
    Workers add their executions every ten seconds. `database`: an alias, by default where attempts
    go to. Raises InvalidOption for a window that isn't between 0 and 30 days.
    """
    given: Any = window
    if not isinstance(given, timedelta) or not timedelta() < given <= LONGEST:
        raise InvalidOption(
            f"window: must be a timedelta of more than 0 and at most 30 days, not {window!r}."
        )
    store = store_for(database or home_database())
    now = store.database.now()
    # Tallies are by the minute: from the whole one in which the window begins.
    since = (now - window).replace(second=0, microsecond=0)
    minutes = (now - since).total_seconds() / 60
    by_queue: defaultdict[str, list[Counted]] = defaultdict(list)
    by_target: defaultdict[str, list[Counted]] = defaultdict(list)
    for key, numbers in store.statistics.tallied(since):
        by_queue[key.queue].append((key.outcome, numbers))
        by_target[key.target].append((key.outcome, numbers))
    executions = {queue: Executions.of(some, minutes) for queue, some in by_queue.items()}
    targets = {target: Executions.of(some, minutes) for target, some in sorted(by_target.items())}
    queues = _queues(store, now, now - window, executions)
    workers, missing_keys = store.statistics.count_live_workers(), store.missing_keys.count()
    return Stats(now, window, workers, queues, targets, missing_keys)


async def astats(*, database: str | None = None, window: timedelta = HOUR) -> Stats:
    """Return `stats` in async code."""
    return await sync_to_async(stats, thread_sensitive=True)(database=database, window=window)


def _queues(
    store: Store, now: datetime, since: datetime, executions: Mapping[str, Executions]
) -> dict[str, QueueStats]:
    pending = {row.queue: row for row in store.statistics.count_pending()}
    scheduled = {row.queue: row for row in store.statistics.count_scheduled()}
    waiting = store.statistics.count_waiting()
    ended = store.statistics.count_ended_badly(since)
    names = {*settings().QUEUES, *pending, *scheduled, *waiting, *executions}
    names |= {queue for queue, _ in ended}
    queues = {}
    for name in sorted(names):
        here, later = pending.get(name), scheduled.get(name)
        due_at = [row.due_at for row in (here, later) if row is not None and row.due_at is not None]
        queues[name] = QueueStats(
            scheduled=later.later if later else 0,
            pending=(here.unclaimed if here else 0) + (later.due if later else 0),
            suspects=here.suspects if here else 0,
            running=here.claimed if here else 0,
            waiting=waiting.get(name, 0),
            failed=ended.get((name, "failed"), 0),
            expired=ended.get((name, "expired"), 0),
            latency=max(0.0, (now - min(due_at)).total_seconds()) if due_at else 0.0,
            executions=executions.get(name, Executions()),
        )
    return queues


def percentile(histogram: Sequence[float], share: float) -> float:
    """Return the seconds within which a `share` of a histogram's executions ended, about.

    Executions are taken to be spread evenly within a bucket; the last bucket has no end, and counts
    as its beginning.
    """
    wanted = share * sum(histogram)
    lower = 0.0
    for upper, number in zip(BUCKETS.values(), histogram, strict=True):
        if number and wanted <= number:
            return lower if upper == inf else lower + (upper - lower) * wanted / number
        wanted -= number
        if upper != inf:
            lower = upper
    return lower
