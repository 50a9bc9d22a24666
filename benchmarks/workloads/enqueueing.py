"""What an attempt adds to a transaction that has one business INSERT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final

from django.db import transaction

from async_attempts import Attempt, enqueue

from ..attempts import arguments_of, fulfill
from ..measurements import Measurement
from ..models import Order
from ..peers.base import Peer
from ..place import Place
from ..rounds import Contender, in_rounds

SHARE: Final = 100
"""One transaction in a round for so many attempts of the run."""

TURNS: Final = 5
"""So many rounds for one of the run: how long a commit takes drifts most, so turns are short."""


def enqueueing(place: Place) -> Iterator[Measurement]:
    """Transactions/s of an order alone, and of an order with an attempt beside it."""
    promised = inserted = 0

    def transactions(rows: int, promise: Callable[[int], object] | None = None) -> float:
        began = perf_counter()
        for number in range(rows):
            with transaction.atomic(place.alias):
                Order.objects.create(number=number, customer="Ada Lovelace")
                if promise:
                    promise(number)
        return perf_counter() - began

    def ours(rows: int, promise: Callable[[int], object]) -> float:
        nonlocal promised
        promised += rows
        return transactions(rows, promise)

    def by_raw_sql(rows: int) -> float:
        nonlocal inserted
        first, inserted = inserted, inserted + rows
        ready = place.floor.sealed(inserted)[first:]
        return ours(rows, lambda number: place.floor.insert(ready[number]))

    def by_peer(peer: Peer) -> Contender:
        def measure(rows: int) -> float:
            peer.empty()
            seconds = transactions(rows, peer.enqueue)
            peer.check_written(rows)
            return seconds

        return Contender(f"and {peer.distribution}", measure, optional=True)

    yield in_rounds(
        "a transaction of one business INSERT",
        [
            Contender("alone", transactions),
            Contender("and a raw SQL INSERT of the row", by_raw_sql),
            Contender("and `enqueue()`", lambda rows: ours(rows, enqueued)),
            Contender("and `Attempt.objects.create()`", lambda rows: ours(rows, created)),
            *map(by_peer, place.distinct_peers),
        ],
        rows=max(1, place.attempts // SHARE),
        rounds=TURNS * place.rounds,
    )
    place.proof.performed(promised)


def enqueued(number: int) -> None:
    enqueue(fulfill, **arguments_of(number))


def created(number: int) -> None:
    Attempt.objects.create(target=fulfill, method_args=arguments_of(number))
