"""Performing what is due: attempts with encrypted arguments whose target does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Final
from uuid import UUID

from django.db.models import Max, Min

from async_attempts import Attempt

from ..environment import environment_of
from ..measurements import Measurement
from ..peers.base import Peer
from ..place import Place
from ..processes import child, running, together
from ..rounds import Contender, in_rounds

FIRST: Final = UUID(int=0)
RAW: Final = "raw SQL: claim 500, finish 500"


def draining(place: Place) -> Iterator[Measurement]:
    """Rows/s from the first claim to the last finish; the start of the process doesn't count."""
    ours = partial(by_worker, place)
    yield in_rounds(
        "drain, one process",
        [
            Contender(RAW, lambda rows: drained(place, rows, place.floor.drain)),
            ours("--processes", "1", "--threads", "1"),
            ours(),
            *(by_peer(peer, 1) for peer in place.peers),
        ],
        rows=place.attempts,
        rounds=place.rounds,
    )
    if place.processes > 1:
        yield from in_two_processes(place)


def in_two_processes(place: Place) -> Iterator[Measurement]:
    with ExitStack() as stack:
        command = child("benchmarks.floors.process", place.alias)
        environment = environment_of(place.alias)
        raw = [stack.enter_context(running(command, environment)) for _ in range(2)]
        yield in_rounds(
            "drain, two processes",
            [
                Contender(RAW, lambda rows: drained(place, rows, lambda: together(raw, "drain"))),
                by_worker(place, "--processes", "2", "--threads", "1"),
                *(by_peer(peer, 2) for peer in place.peers),
            ],
            rows=place.attempts,
            rounds=place.rounds,
        )


def by_worker(place: Place, *options: str) -> Contender:
    """Our worker, with these options."""

    def measure(rows: int) -> float:
        return drained(place, rows, lambda: place.proof.run_worker(*options))

    return Contender(f"`{' '.join(['run_attempts --drain', *options])}`", measure)


def by_peer(peer: Peer, processes: int) -> Contender:
    def measure(rows: int) -> float:
        return peer.drained(rows, processes)

    return Contender(peer.name, measure, peer.share, optional=True)


def drained(place: Place, rows: int, drain: Callable[[], object]) -> float:
    """Seconds that `drain` takes for `rows` attempts, by what it leaves in them."""
    place.floor.insert_many(place.floor.sealed(rows))
    place.floor.settle()
    drain()
    place.proof.check(rows)
    seconds = seconds_since()
    place.proof.empty()
    return seconds


def seconds_since(first: UUID = FIRST) -> float:
    """From the first claim to the last finish, of the attempts from the id `first` on."""
    moments = Attempt.objects.filter(pk__gte=first).aggregate(
        began=Min("started_at"), ended=Max("completed_at")
    )
    seconds: float = (moments["ended"] - moments["began"]).total_seconds()
    return seconds
