"""django-ox: one row a claim, threads and processes."""

from __future__ import annotations

from typing import ClassVar

from django.tasks import task
from django_ox.bulk import enqueue_many
from django_ox.models import OxTask

from ..attempts import arguments_of, noted
from ..processes import Command, manage
from .base import Tally
from .django_tasks import DjangoTasksPeer
from .first_call import note_first_call
from .settings import ALIAS

TABLE = OxTask._meta.db_table


@task(backend="django_ox")
def fulfill(*, customer_token: str, order_number: int) -> None:
    note_first_call()


@task(backend="django_ox")
def note(*, number: int) -> None:
    noted(number)


class DjangoOx(DjangoTasksPeer):
    """Its supervisor of several processes has no way to drain, so each process is a command."""

    distribution: ClassVar = "django-ox"
    settings: ClassVar = "`ox_worker --concurrency 8`, persistent connections"
    tables: ClassVar = [TABLE]
    share: ClassVar = 0.05
    fulfill: ClassVar = fulfill
    note: ClassVar = note

    def enqueue_many(self, rows: int) -> None:
        enqueue_many(fulfill, [((), arguments_of(number)) for number in range(rows)])

    def worker(self) -> Command:
        return manage("ox_worker", "--backend", "django_ox", "--database", ALIAS, "-v", "0")

    def drain(self, rows: int, processes: int) -> None:
        self.run([*self.worker(), "--batch", "--concurrency", "8"], processes)

    def tally(self) -> Tally:
        return self.tally_by(
            f"SELECT count(*) FROM {TABLE}",
            f"SELECT count(*), extract(epoch FROM max(finished_at)) FROM {TABLE}"
            " WHERE status = 'SUCCESSFUL' AND attempts = 1",
        )


PEERS = [DjangoOx()]
