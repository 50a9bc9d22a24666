"""Targets that wait for something else, beside each other, against the best that can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from async_attempts import call

from ..attempts import NAP, nap, nap_async
from ..floors import sealed
from ..measurements import Measurement
from ..place import Place
from ..rounds import Contender, in_rounds
from .draining import seconds_since

THREADS: Final = 4
TASKS: Final = 200

SHARE: Final = 50
"""One that blocks a thread for so many attempts of the run."""

SHARE_OF_TASKS: Final = 2.5
"""One that only awaits for so many attempts of the run."""


def sleeping(place: Place) -> Iterator[Measurement]:
    """Rows/s, by threads and as coroutines."""
    threads = ("--processes", str(place.processes), "--threads", str(THREADS))
    tasks = ("--processes", "1", "--async-tasks", str(TASKS))
    yield against_the_best(place, nap, threads, place.processes * THREADS, SHARE)
    yield against_the_best(place, nap_async, tasks, TASKS, SHARE_OF_TASKS)


def against_the_best(
    place: Place, target: Any, options: tuple[str, ...], at_once: int, share: float
) -> Measurement:
    def best(rows: int) -> float:
        return rows * NAP / at_once

    def by_worker(rows: int) -> float:
        calls = (call(target, number=number) for number in range(rows))
        place.floor.insert_many(sealed(place.alias, calls))
        place.proof.run_worker(*options)
        place.proof.check(rows)
        seconds = seconds_since()
        place.proof.empty()
        return seconds

    kind = "`async def` targets" if target is nap_async else "targets"
    return in_rounds(
        f"{kind} that sleep {NAP * 1000:.0f} ms",
        [
            Contender(f"{at_once} at once", best),
            Contender(f"`{' '.join(['run_attempts --drain', *options])}`", by_worker),
        ],
        rows=at_once * max(1, round(place.attempts / share / at_once)),
        rounds=place.rounds,
    )
