"""procrastinate: asyncio, one row a claim, LISTEN and NOTIFY."""

from __future__ import annotations

from typing import Any, ClassVar

from procrastinate.contrib.django import app

from ..attempts import arguments_of, noted
from ..processes import Command, manage
from .base import Peer, Tally
from .first_call import note_first_call


@app.task
async def fulfill(*, customer_token: str, order_number: int) -> None:
    note_first_call()


@app.task
def note(*, number: int) -> None:
    noted(number)


class Procrastinate(Peer):
    """It has no processes of its own; two are two commands."""

    distribution: ClassVar = "procrastinate"
    settings: ClassVar = "`procrastinate worker --concurrency 30`, an `async def` task"
    tables: ClassVar = ["procrastinate_jobs", "procrastinate_events"]
    share: ClassVar = 0.05

    def enqueue(self, number: int) -> object:
        return fulfill.defer(**arguments_of(number))

    def enqueue_note(self, number: int) -> object:
        return note.defer(number=number)

    def enqueue_many(self, rows: int) -> None:
        arguments: list[Any] = [arguments_of(number) for number in range(rows)]
        fulfill.batch_defer(*arguments)

    def worker(self) -> Command:
        return manage("procrastinate", "worker")

    def drain(self, rows: int, processes: int) -> None:
        self.run([*self.worker(), "--one-shot", "--concurrency", "30"], processes)

    def tally(self) -> Tally:
        return self.tally_by(
            "SELECT count(*) FROM procrastinate_jobs",
            "SELECT count(DISTINCT job_id), extract(epoch FROM max(at)) FROM procrastinate_events"
            " JOIN procrastinate_jobs ON procrastinate_jobs.id = job_id"
            " WHERE type = 'succeeded' AND status = 'succeeded' AND attempts = 1",
        )


PEERS = [Procrastinate()]
