"""What `attempts stats` tells: the figures, as tables or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from ...printable import printable
from ...statistics import Executions, Stats
from ...store.missing import is_form
from ._pruning import age

EXECUTIONS_HEAD: Final = (
    "SUCCEEDED",
    "RETRIED",
    "FAILED",
    "EXPIRED",
    "PER MINUTE",
    "WAIT",
    "RUN",
    "P50",
    "P95",
)
QUEUES_HEAD: Final = (
    "QUEUE",
    "SCHEDULED",
    "PENDING",
    "LATENCY",
    "SUSPECTS",
    "RUNNING",
    "WAITING",
    "FAILED",
    "EXPIRED",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `attempts stats`."""
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--window",
        type=age,
        default=3600.0,
        metavar="AGE",
        help="what has ended counts for so long, such as 15m or 1d; 1h by default",
    )
    parser.add_argument("--database", help="alias; by default where the router puts attempts")


def window(options: dict[str, Any]) -> timedelta:
    """The one that was asked for."""
    return timedelta(seconds=options["window"])


def as_json(stats: Stats) -> str:
    """All of it, with the names of the attributes; times in seconds."""
    figures = asdict(stats)
    figures["taken_at"] = stats.taken_at.isoformat()
    figures["window"] = stats.window.total_seconds()
    return json.dumps(figures, indent=2)


def queues(stats: Stats) -> Iterator[tuple[str, ...]]:
    """The rows of the table of queues: what there is, and what has ended badly."""
    for name, queue in stats.queues.items():
        counts = (queue.suspects, queue.running, queue.waiting, queue.failed, queue.expired)
        first = str(queue.scheduled), str(queue.pending), duration(queue.latency)
        yield name, *first, *map(str, counts)


def executions(stats: Stats) -> Iterator[tuple[str, ...]]:
    """The rows of the tables of executions: by queue, and by target."""
    yield "EXECUTIONS", *EXECUTIONS_HEAD
    for name, queue in stats.queues.items():
        yield name, *_told(queue.executions)
    for target, executed in stats.targets.items():
        yield target, *_told(executed)


def missing_keys(stats: Stats) -> Iterator[str]:
    """A line for each key, or form of the stored bytes, that attempts wait for."""
    for name, number in stats.missing_keys.items():
        attempts = "1 attempt waits" if number == 1 else f"{number} attempts wait"
        if is_form(name):
            yield f"{attempts} in a form that a worker's release did not know: {printable(name)}."
        else:
            yield f"{attempts} for the key {printable(name)}, which a worker did not have."


def _told(executed: Executions) -> tuple[str, ...]:
    counts = (executed.succeeded, executed.retried, executed.failed, executed.expired)
    times = (executed.mean_wait, executed.mean_run, executed.p50_run, executed.p95_run)
    return *map(str, counts), f"{executed.per_minute:.1f}", *map(duration, times)


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
