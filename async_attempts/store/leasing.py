"""A worker's row and its lease, by the database's clock."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Q

from ..models import DatabaseNow, Worker
from .rows import Rows, seconds_from_now
from .transactions import refuse_callers_block

LATE_SHARE: Final = 0.6
"""Of a lease: a worker that renews it every third of its length never has less left."""


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
        refuse_callers_block(self.alias)
        return self.redone(lambda: mine.update(lease=seconds_from_now(lease))) == 1

    def renew_unlocked(self, worker_ids: Collection[UUID], lease: float) -> list[UUID]:
        """`renew` for those of several workers whose rows nobody locks; returns who they are.

        A worker that is starved in the midst of a claim doesn't keep back the others.
        """

        def work() -> list[UUID]:
            mine = self.workers.filter(pk__in=worker_ids, state=Worker.State.LIVE).order_by("id")
            unlocked = list(mine.select_for_update(skip_locked=True).values_list("pk", flat=True))
            self.workers.filter(pk__in=unlocked).update(lease=seconds_from_now(lease))
            return unlocked

        return self.whole(work)

    def deregister(self, worker_id: UUID) -> None:
        """Note that a worker, which holds nothing any more, ended."""
        mine = self.workers.filter(pk=worker_id, state=Worker.State.LIVE)
        self.whole(lambda: mine.update(state=Worker.State.STOPPED))

    def forget_workers(self, age: float) -> int:
        """Delete the rows of workers whose lease ended `age` seconds ago and who hold nothing."""
        over = self.workers.filter(state__in=(Worker.State.STOPPED, Worker.State.RESCUED))
        old = over.filter(lease__lt=seconds_from_now(-age)).order_by("pk")
        if not old.exists():
            return 0

        def work() -> int:
            ids = list(old.select_for_update(skip_locked=True).values_list("pk", flat=True))
            self.delete_workers(ids)
            return len(ids)

        return self.whole(work)

    def delete_workers(self, ids: Sequence[UUID]) -> None:
        """Delete these rows of workers, which are locked, and touch no others."""
        self.workers.filter(pk__in=ids)._raw_delete(self.alias)

    def late_leases(self, lease: float) -> dict[UUID, datetime]:
        """The leases, by their workers' ids, that should have been renewed before now.

        `lease`: the length of one, in seconds.
        """
        late = seconds_from_now(lease * LATE_SHARE)
        rows = self.workers.filter(state=Worker.State.LIVE, lease__lt=late)
        return dict(rows.values_list("pk", "lease"))

    def has_dead_workers(self) -> bool:
        """Whether a worker's lease has run out, or its attempts haven't all been taken back."""
        expired = Q(state=Worker.State.LIVE, lease__lt=DatabaseNow())
        return self.workers.filter(expired | Q(state=Worker.State.DEAD)).exists()
