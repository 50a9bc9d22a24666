"""dj-queue: a port of Solid Queue, that claims several rows at once."""

from __future__ import annotations

import time
from typing import Any, ClassVar, Final

from dj_queue.models import Job
from django.tasks import task

from ..attempts import arguments_of, noted
from ..processes import Command, manage, raise_if_failed, running
from .base import NotAllSucceededError, Tally
from .django_tasks import DjangoTasksPeer
from .first_call import note_first_call

TABLE = Job._meta.db_table
PATIENCE: Final = 120.0
"""Seconds for a drain."""


@task(backend="dj_queue")
def fulfill(*, customer_token: str, order_number: int) -> None:
    note_first_call()


@task(backend="dj_queue")
def note(*, number: int) -> None:
    noted(number)


class DjQueue(DjangoTasksPeer):
    """It can't be told to drain, so it is stopped when all is done."""

    distribution: ClassVar = "dj-queue"
    settings: ClassVar = (
        "`dj_queue --only-work` with 8 threads and a prefetch of 10 each, persistent connections"
    )
    tables: ClassVar = [TABLE]
    share: ClassVar = 0.1
    fulfill: ClassVar = fulfill
    note: ClassVar = note

    def enqueue_many(self, rows: int) -> None:
        backend: Any = fulfill.get_backend()
        backend.enqueue_all([(fulfill, (), arguments_of(number)) for number in range(rows)])

    def worker(self) -> Command:
        return manage("dj_queue", "--backend", "dj_queue")

    def drain(self, rows: int, processes: int) -> None:
        command = [*self.worker(), "--only-work"]
        with running(command, self.environment(processes)) as process:
            deadline = time.monotonic() + PATIENCE
            while self.tally().succeeded < rows:
                raise_if_failed(process)
                if time.monotonic() > deadline:
                    raise NotAllSucceededError(f"{self.name}: not drained in {PATIENCE} s")
                time.sleep(0.1)

    def tally(self) -> Tally:
        return self.tally_by(
            f"SELECT count(*) FROM {TABLE}",
            f"SELECT count(*), extract(epoch FROM max(finished_at)) FROM {TABLE} AS one"
            " WHERE finished_at IS NOT NULL AND NOT EXISTS"
            " (SELECT 1 FROM dj_queue_failed_executions AS failed WHERE failed.job_id = one.id)",
        )


PEERS = [DjQueue()]
