"""django-tasks-db: the reference backend, one row a claim, one task at a time in a process."""

from __future__ import annotations

from typing import ClassVar

from django.db import transaction
from django.tasks import task
from django_tasks_db.models import DBTaskResult

from ..attempts import noted
from ..processes import Command, manage
from .base import Tally
from .django_tasks import DjangoTasksPeer
from .first_call import note_first_call
from .settings import ALIAS

TABLE = DBTaskResult._meta.db_table


@task(backend="django_tasks_db")
def fulfill(*, customer_token: str, order_number: int) -> None:
    note_first_call()


@task(backend="django_tasks_db")
def note(*, number: int) -> None:
    noted(number)


class DjangoTasksDB(DjangoTasksPeer):
    """It has no bulk enqueue."""

    distribution: ClassVar = "django-tasks-db"
    settings: ClassVar = "`db_worker`, persistent connections"
    tables: ClassVar = [TABLE]
    share: ClassVar = 0.05
    fulfill: ClassVar = fulfill
    note: ClassVar = note

    def enqueue_many(self, rows: int) -> None:
        with transaction.atomic(ALIAS):
            for number in range(rows):
                self.enqueue(number)

    def worker(self) -> Command:
        return manage("db_worker", "--backend", "django_tasks_db", "--queue-name", "*")

    def drain(self, rows: int, processes: int) -> None:
        self.run([*self.worker(), "--batch", "--no-startup-delay"], processes)

    def tally(self) -> Tally:
        return self.tally_by(
            f"SELECT count(*) FROM {TABLE}",
            f"SELECT count(*), extract(epoch FROM max(finished_at)) FROM {TABLE}"
            " WHERE status = 'SUCCESSFUL'",
        )


PEERS = [DjangoTasksDB()]
