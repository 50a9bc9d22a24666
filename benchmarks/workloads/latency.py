"""How soon a worker that has nothing to do picks up what is enqueued."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Final

from django.db import connections, transaction

from async_attempts import call, enqueue

from ..attempts import CALLED, note
from ..environment import environment_of
from ..floors import sealed
from ..floors.process import CHANNEL
from ..measurements import Facts
from ..peers.base import NotAllSucceededError, Peer
from ..peers.settings import ALIAS
from ..place import Place
from ..processes import Command, child, run_attempts, running
from ..rounds import reason

Promise = Callable[[int], object]

PAUSE: Final = 0.05
"""Seconds between two transactions, on average."""

SHARE: Final = 100
"""One transaction for so many attempts of the run."""

SETTLING: Final = 4.0
"""Seconds that a worker has to start and find nothing to do."""

FINISHING: Final = 1.0

PATIENCE: Final = 30.0
"""Seconds for the last to be called."""


def latency(place: Place) -> Iterator[Facts]:
    """Milliseconds from the COMMIT, its begin and its end, to the first line of the target."""
    figures: dict[str, list[float]] = {}
    left_out: dict[str, str] = {}
    number = max(4, place.attempts // SHARE)
    figures["raw SQL: LISTEN, claim, finish"] = by_raw_sql(place, number)
    figures["`run_attempts`"] = by_worker(place, number)
    for peer in place.peers:
        try:
            figures[peer.name] = by_peer(peer, number)
        except Exception as error:  # noqa: BLE001 - it is left out, and the report says so
            left_out[peer.name] = reason(error)
    columns = ["p50 from COMMIT's begin, ms", "p99", "p50 from its end, ms", "p99"]
    yield Facts(f"pickup, {number} at 20/s from idle", columns, figures, left_out)


def by_raw_sql(place: Place, number: int) -> list[float]:
    rows = sealed(place.alias, (call(note, number=one) for one in range(number)))

    def promise(one: int) -> None:
        place.floor.insert(rows[one])
        connections[place.alias].connection.execute(f"NOTIFY {CHANNEL}")

    command = child("benchmarks.floors.process", place.alias)
    return by_ours(place, command, promise, number, order="listen")


def by_worker(place: Place, number: int) -> list[float]:
    return by_ours(place, run_attempts(place.alias), lambda one: enqueue(note, number=one), number)


def by_ours(
    place: Place, command: Command, promise: Promise, number: int, order: str = ""
) -> list[float]:
    with idle(command, environment_of(place.alias), order) as called:
        figures = measured(called, promise, number)
    place.proof.check(number)
    place.proof.empty()
    return figures


def by_peer(peer: Peer, number: int) -> list[float]:
    peer.empty()
    with idle(peer.worker(), peer.environment()) as called:
        figures = measured(called, peer.enqueue_note, number)
    peer.check(number)
    return figures


@contextmanager
def idle(command: Command, environment: Mapping[str, str], order: str = "") -> Iterator[Path]:
    """A worker that has nothing to do yet, and the file in which it will note its calls."""
    with tempfile.TemporaryDirectory(prefix="benchmarks_") as directory:
        called = Path(directory) / "called"
        called.touch()
        with running(command, {**environment, CALLED: os.fspath(called)}) as worker:
            if order:
                worker.tell(order)
            time.sleep(SETTLING)
            yield called


def measured(called: Path, promise: Promise, number: int) -> list[float]:
    """p50 and p99 from the begin of the COMMIT, then from its end."""
    commits = [committed(promise, one) for one in range(number)]
    begun = when_called(called, number)
    # What was called is finished before the worker is told to stop.
    time.sleep(FINISHING)
    waits = [
        [(begun[one] - moments[side]) / 1e6 for one, moments in enumerate(commits)]
        for side in (0, 1)
    ]
    return [figure for side in waits for figure in middle_and_worst(side)]


def committed(promise: Promise, one: int) -> tuple[int, int]:
    """Promise in a transaction; the ns at which its COMMIT began and ended."""
    time.sleep(random.uniform(0, 2 * PAUSE))
    with transaction.atomic(ALIAS):
        promise(one)
        before = time.time_ns()
    return before, time.time_ns()


def when_called(file: Path, number: int) -> dict[int, int]:
    """The ns at which each was called."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        lines = file.read_text().splitlines()
        if len(lines) >= number:
            return {int(one): int(moment) for one, moment in map(str.split, lines)}
        time.sleep(0.1)
    raise NotAllSucceededError(f"of {number}, {len(lines)} were called in {PATIENCE} s")


def middle_and_worst(values: list[float]) -> tuple[float, float]:
    """p50 and p99."""
    hundredths = quantiles(values, n=100, method="inclusive")
    return hundredths[49], hundredths[98]
