"""Many attempts in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, Final

from async_attempts import Attempt, enqueue_many

from ..attempts import arguments_of, call_of, fulfill
from ..measurements import Measurement
from ..peers.base import Peer
from ..place import Place
from ..rounds import Contender, in_rounds

SHARE: Final = 4
"""One row in a round for so many attempts of the run."""


def bulk(place: Place) -> Iterator[Measurement]:
    """Rows/s, from Python objects that say what is to be called."""

    def timed(write: Callable[[], object]) -> float:
        began = perf_counter()
        write()
        return perf_counter() - began

    def performed(rows: int, write: Callable[[], object]) -> float:
        seconds = timed(write)
        place.proof.performed(rows)
        return seconds

    def by_raw_sql(rows: int) -> float:
        ready = place.floor.sealed(rows)
        return performed(rows, lambda: place.floor.insert_many(ready))

    def by_enqueue_many(rows: int) -> float:
        return performed(rows, lambda: enqueue_many(call_of(number) for number in range(rows)))

    def by_bulk_create(rows: int) -> float:
        def unsaved(number: int) -> Attempt:
            columns: dict[str, Any] = {"target": fulfill, "method_args": arguments_of(number)}
            return Attempt(**columns)

        return performed(rows, lambda: Attempt.objects.bulk_create(map(unsaved, range(rows))))

    def by_peer(peer: Peer) -> Contender:
        def measure(rows: int) -> float:
            peer.empty()
            seconds = timed(lambda: peer.enqueue_many(rows))
            peer.check_written(rows)
            return seconds

        return Contender(peer.distribution, measure, optional=True)

    yield in_rounds(
        "many rows in one transaction",
        [
            Contender("a raw SQL INSERT of many rows", by_raw_sql),
            Contender("`enqueue_many()`", by_enqueue_many),
            Contender("`Attempt.objects.bulk_create()`", by_bulk_create),
            *map(by_peer, place.distinct_peers),
        ],
        rows=max(1, place.attempts // SHARE),
        rounds=place.rounds,
    )
