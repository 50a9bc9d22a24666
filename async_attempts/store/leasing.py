"""A worker's row and its lease, by the database's clock."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q

from ..models import DatabaseNow, Worker
from .rows import Rows, seconds_from_now


class Leasing(Rows):
    """Who is alive."""

    def register(self, worker: Worker, lease: float) -> None:
        """Write a new incarnation's row; its lease holds for `lease` seconds."""
        worker.lease = seconds_from_now(lease)

        def work() -> None:
            worker.save(using=self.alias, force_insert=True)

        self.whole(work)

    def renew(self, worker_id: UUID, lease: float) -> bool:
        """Let the lease hold for `lease` seconds from now, however late; False: was rescued."""
        mine = self.workers.filter(pk=worker_id, state=Worker.State.LIVE)
        return self.whole(lambda: mine.update(lease=seconds_from_now(lease))) == 1

    def deregister(self, worker_id: UUID) -> None:
        """Note that a worker, which holds nothing any more, ended."""
        mine = self.workers.filter(pk=worker_id, state=Worker.State.LIVE)
        self.whole(lambda: mine.update(state=Worker.State.STOPPED))

    def forget_workers(self, age: float) -> int:
        """Delete the rows of workers whose lease ended `age` seconds ago and who hold nothing."""
        over = self.workers.filter(state__in=(Worker.State.STOPPED, Worker.State.RESCUED))
        old = over.filter(lease__lt=seconds_from_now(-age))
        return self.whole(lambda: old.delete()[0])

    def has_dead_workers(self) -> bool:
        """Whether a worker's lease has run out, or its attempts haven't all been taken back."""
        expired = Q(state=Worker.State.LIVE, lease__lt=DatabaseNow())
        return self.workers.filter(expired | Q(state=Worker.State.DEAD)).exists()
