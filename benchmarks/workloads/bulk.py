"""Many attempts in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from async_attempts import Attempt, enqueue_many

from ..attempts import arguments_of, call_of, fulfill
from ..floors import Floor, sealed
from ..proof import Proof
from ..rounds import Measurement, in_rounds

SHARE: Final = 4
"""One row in a round for so many attempts of the run."""


def bulk(floor: Floor, proof: Proof, *, attempts: int, rounds: int) -> Measurement:
    """Rows/s, from Python objects that say what is to be called."""

    def performed(rows: int, write: Callable[[], object]) -> float:
        began = perf_counter()
        write()
        seconds = perf_counter() - began
        proof.performed(rows)
        return seconds

    def by_raw_sql(rows: int) -> float:
        ready = sealed(floor.alias, rows)
        return performed(rows, lambda: floor.insert_many(ready))

    def by_enqueue_many(rows: int) -> float:
        return performed(rows, lambda: enqueue_many(call_of(number) for number in range(rows)))

    def by_bulk_create(rows: int) -> float:
        def unsaved(number: int) -> Attempt:
            columns: dict[str, Any] = {"target": fulfill, "method_args": arguments_of(number)}
            return Attempt(**columns)

        return performed(rows, lambda: Attempt.objects.bulk_create(map(unsaved, range(rows))))

    return in_rounds(
        "many rows in one transaction",
        {
            "a raw SQL INSERT of many rows": by_raw_sql,
            "`enqueue_many()`": by_enqueue_many,
            "`Attempt.objects.bulk_create()`": by_bulk_create,
        },
        rows=max(1, attempts // SHARE),
        rounds=rounds,
    )
