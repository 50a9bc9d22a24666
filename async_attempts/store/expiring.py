"""Expire what no worker has claimed before its `expires_at`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from ..lifecycle import LIVE, Status
from ..models import AttemptQuerySet, DatabaseNow
from .claims import TOO_LATE
from .depending import Depending
from .rows import ended


class Expiring(Depending):
    """From pending, scheduled or waiting to expired, without a person or a claim."""

    def expire_overdue(self, limit: int = 1000) -> list[UUID]:
        """Expire at most `limit` live attempts past their `expires_at`; returns their ids.

        What is claimed, or locked by others, is left.
        """
        # An idle worker only looks: on SQLite it would keep others from writing.
        if not (ids := self._overdue_ids(limit)):
            return []

        def work() -> list[UUID]:
            overdue = self._overdue()
            rows = self.skipping_locked(overdue.filter(pk__in=ids).order_by("pk"))
            locked = list(rows.values_list("pk", flat=True))
            columns = ended(Status.EXPIRED, reason=TOO_LATE.reason, blockers=0)
            overdue.filter(pk__in=locked).update(**columns)
            if locked:
                self.tell_waiters()
            self.close_when_committed(self.with_dependents(locked))
            return locked

        return self.whole(work)

    def _overdue_ids(self, limit: int) -> list[UUID]:
        return list(self._overdue().values_list("pk", flat=True)[:limit])

    def _overdue(self) -> AttemptQuerySet[Any]:
        # By the index of what has no `completed_at`.
        late = self.attempts.filter(completed_at=None, expires_at__lte=DatabaseNow())
        return late.filter(status__in=LIVE, claimed_by=None)
