"""Whether a drain notices what else is in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from django.db import connections

from ..attempts import call_of
from ..floors import sealed
from ..floors.filling import fill
from ..measurements import Measurement
from ..place import Place
from ..rounds import Contender, in_rounds
from .draining import RAW, seconds_since

FINISHED: Final = 50
SCHEDULED: Final = 10
"""Rows for one of the run's attempts."""


def beside(place: Place) -> Iterator[Measurement]:
    """Rows/s of a drain, the table empty, and full of what is finished and scheduled."""
    finished, scheduled = FINISHED * place.attempts, SCHEDULED * place.attempts
    others = f"beside {finished:,} finished and {scheduled:,} scheduled"
    one_process = ("--processes", "1", "--threads", "1")
    contenders: dict[str, Callable[[], object]] = {
        RAW: place.floor.drain,
        f"`run_attempts --drain {' '.join(one_process)}`": lambda: place.proof.run_worker(
            *one_process
        ),
    }
    with full_table(place, finished, scheduled) as swap:
        for name, drain in contenders.items():

            def in_empty(rows: int, drain: Callable[[], object] = drain) -> float:
                seconds = drained(place, rows, drain)
                place.proof.empty()
                return seconds

            def in_full(rows: int, drain: Callable[[], object] = drain) -> float:
                with swap():
                    return drained(place, rows, drain)

            yield in_rounds(
                f"drain, {name}",
                [Contender("in an empty table", in_empty), Contender(others, in_full)],
                rows=place.attempts,
                rounds=place.rounds,
            )


def drained(place: Place, rows: int, drain: Callable[[], object]) -> float:
    """Seconds that it takes; what was drained stays."""
    ready = sealed(place.alias, map(call_of, range(rows)))
    place.floor.insert_many(ready)
    place.floor.settle()
    drain()
    place.proof.check(rows, since=ready[0].id)
    return seconds_since(ready[0].id)


@contextmanager
def full_table(
    place: Place, finished: int, scheduled: int
) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """A second table of attempts, full, in a schema of its own; swapped for the first one."""
    with connections[place.alias].cursor() as cursor:
        cursor.execute("CREATE SCHEMA full_one; CREATE SCHEMA empty_one")
        fill(cursor, "full_one", finished, scheduled)

    def move(leaving: str, coming: str) -> None:
        with connections[place.alias].cursor() as cursor:
            cursor.execute(f"ALTER TABLE public.async_attempts_attempt SET SCHEMA {leaving}")
            cursor.execute(f"ALTER TABLE {coming}.async_attempts_attempt SET SCHEMA public")

    @contextmanager
    def swap() -> Iterator[None]:
        move("empty_one", "full_one")
        try:
            yield
        finally:
            move("full_one", "empty_one")

    try:
        yield swap
    finally:
        with connections[place.alias].cursor() as cursor:
            cursor.execute("DROP SCHEMA full_one CASCADE; DROP SCHEMA empty_one")
