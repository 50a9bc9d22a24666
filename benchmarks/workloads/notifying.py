"""What notifications cost those who enqueue at the same time, while no worker waits for one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from time import time
from typing import Final

from django.db import connections, transaction

from async_attempts import enqueue

from ..attempts import arguments_of, call_of, fulfill
from ..environment import NOTIFY, environment_of
from ..floors import floor_on, sealed
from ..measurements import Measurement
from ..place import Place
from ..processes import child, running, together
from ..rounds import Contender, in_rounds

ENQUEUERS: Final = 8
SHARE: Final = 400
"""One transaction in a round, for each enqueuer, for so many attempts of the run."""

TURNS: Final = 5
"""So many rounds for one of the run, as in `enqueueing`."""

WITHOUT, WITH = "`enqueue()`, `NOTIFY: False`", "`enqueue()`, `NOTIFY: True`"
RAW, RAW_NOTIFY = "raw SQL", "raw SQL and a NOTIFY in each"


def notifying(place: Place) -> Iterator[Measurement]:
    """Transactions/s of one attempt each, by eight processes."""
    for names in ((WITHOUT, WITH), (RAW, RAW_NOTIFY)):
        with ExitStack() as stack:
            crowds = [Crowd(place.alias, name, stack) for name in names]
            yield in_rounds(
                f"{ENQUEUERS} processes enqueue",
                [Contender(crowd.name, crowd.enqueue) for crowd in crowds],
                rows=max(1, place.attempts // SHARE) * ENQUEUERS,
                rounds=TURNS * place.rounds,
            )
        place.proof.performed(sum(crowd.written for crowd in crowds))


class Crowd:
    """Processes that enqueue in the same way at the same time."""

    def __init__(self, alias: str, name: str, stack: ExitStack) -> None:
        self.name = name
        self.written = 0
        environment = environment_of(alias, {NOTIFY: "" if name == WITHOUT else "1"})
        command = child(__name__, alias, name)
        self.processes = [
            stack.enter_context(running(command, environment)) for _ in range(ENQUEUERS)
        ]

    def enqueue(self, rows: int) -> float:
        """Seconds from the first that begins to the last that ends."""
        each = -(-rows // ENQUEUERS)
        together(self.processes, "0")  # so that all have started
        spans = [tuple(map(float, said.split())) for said in together(self.processes, str(each))]
        self.written += each * ENQUEUERS
        began, ended = zip(*spans, strict=True)
        seconds: float = max(ended) - min(began)
        return seconds * rows / (each * ENQUEUERS)


def main(alias: str, name: str) -> None:
    """An enqueuer: for each number that it is told, so many transactions."""
    floor, connection = floor_on(alias), connections[alias]
    connection.ensure_connection()
    for line in sys.stdin:
        rows = sealed(alias, map(call_of, range(int(line)))) if name.startswith("raw") else []
        began = time()
        for number in range(int(line)):
            with transaction.atomic(alias):
                if not rows:
                    enqueue(fulfill, **arguments_of(number))
                    continue
                floor.insert(rows[number])
                if name == RAW_NOTIFY:
                    connection.connection.execute("NOTIFY benchmarks_raw")
        print(began, time(), flush=True)
