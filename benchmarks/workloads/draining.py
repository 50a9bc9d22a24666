"""Performing what is due: attempts with encrypted arguments whose target does nothing."""

from __future__ import annotations

from collections.abc import Callable

from django.db.models import Max, Min

from async_attempts import Attempt

from ..floors import Floor, sealed
from ..proof import Proof
from ..rounds import Measurement, in_rounds


def draining(floor: Floor, proof: Proof, *, attempts: int, rounds: int) -> Measurement:
    """Rows/s from the first claim to the last finish; the start of the process doesn't count."""

    def drained(rows: int, drain: Callable[[], None]) -> float:
        floor.insert_many(sealed(floor.alias, rows))
        floor.settle()
        drain()
        proof.check(rows)
        moments = Attempt.objects.aggregate(began=Min("started_at"), ended=Max("completed_at"))
        proof.empty()
        seconds: float = (moments["ended"] - moments["began"]).total_seconds()
        return seconds

    def by_raw_sql(rows: int) -> float:
        return drained(rows, floor.drain)

    def by_worker(rows: int) -> float:
        return drained(rows, proof.run_worker)

    return in_rounds(
        "drain, one process",
        {
            "raw SQL: claim 500, finish 500": by_raw_sql,
            "`run_attempts --drain`": by_worker,
        },
        rows=attempts,
        rounds=rounds,
    )
