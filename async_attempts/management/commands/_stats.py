"""The command `attempts stats`: its flags, and its output as tables or as JSON."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import CommandError

from ...exceptions import InvalidOption
from ...printable import printable
from ...statistics import Executions, Stats, stats
from ...store.missing_keys import is_form
from ._command_line import USAGE, PipedCommand, add_database, age

EXECUTIONS_HEAD: Final = (
    *"EXECUTIONS SUCCEEDED RETRIED FAILED EXPIRED".split(),
    "PER MINUTE",
    *"WAIT RUN P50 P95".split(),
)
QUEUES_HEAD: Final = tuple(
    "QUEUE SCHEDULED PENDING LATENCY SUSPECTS RUNNING WAITING FAILED EXPIRED".split()
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `attempts stats`."""
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--window",
        type=age,
        default=3600.0,
        metavar="AGE",
        help="what has ended counts for so long, such as 15m or 1d; 1h by default",
    )
    add_database(parser)


def run(command: PipedCommand, database: str, options: dict[str, Any]) -> None:
    """Print the statistics of now and of the last window."""
    try:
        figures = stats(database=database, window=timedelta(seconds=options["window"]))
    except InvalidOption as error:
        raise CommandError(f"--window: {error}", returncode=USAGE) from error
    if options["json"]:
        command.stdout.write(_as_json(figures))
        return
    command.write_table(_queues(figures))
    command.stdout.write("")
    command.write_table(_executions(figures))
    alive = "1 worker is" if figures.workers == 1 else f"{figures.workers} workers are"
    command.stdout.write(f"\n{alive} alive.")
    for line in _missing_keys(figures):
        command.stdout.write(line)


def _as_json(figures: Stats) -> str:
    """Return all statistics with the names of the attributes; times in seconds."""
    named = asdict(figures)
    named["taken_at"] = figures.taken_at.isoformat()
    named["window"] = figures.window.total_seconds()
    return json.dumps(named, indent=2)


def _queues(figures: Stats) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of queues."""
    yield QUEUES_HEAD
    for name, queue in figures.queues.items():
        counts = (queue.suspects, queue.running, queue.waiting, queue.failed, queue.expired)
        first = str(queue.scheduled), str(queue.pending), _duration(queue.latency)
        yield name, *first, *map(str, counts)


def _executions(figures: Stats) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the tables of executions: by queue, and by target."""
    yield EXECUTIONS_HEAD
    for name, queue in figures.queues.items():
        yield name, *_told(queue.executions)
    for target, executed in figures.targets.items():
        yield target, *_told(executed)


def _missing_keys(figures: Stats) -> Iterator[str]:
    """Yield a line for each key, or form of the stored bytes, that attempts wait for."""
    for name, number in figures.missing_keys.items():
        attempts = "1 attempt waits" if number == 1 else f"{number} attempts wait"
        if is_form(name):
            yield f"{attempts} in a form that a worker's release did not know: {printable(name)}."
        else:
            yield f"{attempts} for the key {printable(name)}, which a worker did not have."


def _told(executed: Executions) -> tuple[str, ...]:
    counts = (executed.succeeded, executed.retried, executed.failed, executed.expired)
    times = (executed.mean_wait, executed.mean_run, executed.p50_run, executed.p95_run)
    return *map(str, counts), f"{executed.per_minute:.1f}", *map(_duration, times)


def _duration(seconds: float | None) -> str:
    """Return a time in the unit that suits it."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
