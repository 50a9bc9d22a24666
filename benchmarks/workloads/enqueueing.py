"""What an attempt adds to a transaction that has one business INSERT."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Final

from django.db import transaction

from async_attempts import Attempt, enqueue

from ..attempts import arguments_of, fulfill
from ..floors import Floor, sealed
from ..models import Order
from ..proof import Proof
from ..rounds import Measurement, in_rounds

SHARE: Final = 100
"""One transaction in a round for so many attempts of the run."""

TURNS: Final = 5
"""So many rounds for one of the run: how long a commit takes drifts most, so turns are short."""


def enqueueing(floor: Floor, proof: Proof, *, attempts: int, rounds: int) -> Measurement:
    """Transactions/s of an order alone, and of an order with an attempt beside it."""

    promised = 0

    def transactions(rows: int, promise: Callable[[int], object] | None = None) -> float:
        nonlocal promised
        promised += rows if promise else 0
        began = perf_counter()
        for number in range(rows):
            with transaction.atomic(floor.alias):
                Order.objects.create(number=number, customer="Ada Lovelace")
                if promise:
                    promise(number)
        return perf_counter() - began

    def alone(rows: int) -> float:
        return transactions(rows)

    def by_raw_sql(rows: int) -> float:
        ready = sealed(floor.alias, rows)
        return transactions(rows, lambda number: floor.insert(ready[number]))

    def by_enqueue(rows: int) -> float:
        return transactions(rows, lambda number: enqueue(fulfill, **arguments_of(number)))

    def by_create(rows: int) -> float:
        def create(number: int) -> None:
            Attempt.objects.create(target=fulfill, method_args=arguments_of(number))

        return transactions(rows, create)

    measured = in_rounds(
        "a transaction of one business INSERT",
        {
            "alone": alone,
            "and a raw SQL INSERT of the row": by_raw_sql,
            "and `enqueue()`": by_enqueue,
            "and `Attempt.objects.create()`": by_create,
        },
        rows=max(1, attempts // SHARE),
        rounds=TURNS * rounds,
    )
    proof.performed(promised)
    return measured
