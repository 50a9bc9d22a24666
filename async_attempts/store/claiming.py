"""Promote what became due, and claim a batch of it: committed before any target is called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Case, F, Min, Q, Value, When

from ..lifecycle import Status
from ..models import AttemptQuerySet, DatabaseNow
from .claims import COLUMNS, TOO_LATE, Claim
from .finishing import Finishing

BEST_FIRST = ("-priority", "scheduled_at", "id")
IS_LATE = Case(
    When(expires_at__lte=DatabaseNow(), then=Value(True)),
    default=Value(False),
    output_field=BooleanField(),
)
CLAIMABLE = Q(status=Status.PENDING, claimed_by=None)


def in_queue(queue: str, suspects: bool) -> Q:
    """The suspects, or all others, of one queue."""
    return Q(queue=queue) & (Q(num_crashes__gt=0) if suspects else Q(num_crashes=0))


class Claiming(Finishing):
    """From scheduled to pending to running."""

    def promote(self, limit: int = 1000) -> int:
        """Make at most `limit` due scheduled attempts pending; returns how many."""

        def work() -> int:
            due = self.attempts.filter(status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow())
            due = due.order_by("scheduled_at", "id").select_for_update(skip_locked=True)
            ids = list(due.values_list("id", flat=True)[:limit])
            rows = self.attempts.filter(pk__in=ids, status=Status.SCHEDULED)
            return rows.update(status=Status.PENDING) if ids else 0

        return self.whole(work)

    def promote_one(self, attempt_id: UUID) -> None:
        """Make this attempt pending, if it is scheduled and due."""
        due = self.attempts.filter(
            pk=attempt_id, status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow()
        )
        self.whole(lambda: due.update(status=Status.PENDING))

    def next_due(self) -> float | None:
        """Seconds until the next scheduled attempt is due, by the database's clock; None: none."""
        scheduled = self.attempts.filter(status=Status.SCHEDULED)
        wait = scheduled.aggregate(wait=Min("scheduled_at") - DatabaseNow())["wait"]
        return None if wait is None else max(0.0, wait.total_seconds())

    def claim(
        self, worker_id: UUID, queues: Iterable[str], limit: int, *, suspects: bool = False
    ) -> list[Claim]:
        """Claim the best `limit` due attempts of `queues`, the first queue's first.

        Claims nothing for a worker that isn't live. What is past its `expires_at` is finished as
        expired instead. Suspects (in hand when a worker died) are claimed only when asked for.
        """
        claims: list[Claim] = []
        for queue in queues:
            found_late = True
            while found_late and len(claims) < limit:
                found = self._claim(worker_id, queue, limit - len(claims), suspects)
                in_time = self._without_late(worker_id, found)
                claims += in_time
                # There may be more behind those that came too late.
                found_late = len(in_time) < len(found)
        return claims

    def claim_one(self, worker_id: UUID, attempt_id: UUID) -> Claim | None:
        """Claim this attempt, if it is due and nobody has; None if not."""
        claims = self.whole(lambda: self._claim_where(worker_id, Q(pk=attempt_id), 1))
        return next(iter(self._without_late(worker_id, claims)), None)

    def _claim(self, worker_id: UUID, queue: str, limit: int, suspects: bool) -> list[Claim]:
        which = in_queue(queue, suspects)
        return self.whole(lambda: self._claim_where(worker_id, which, limit))

    def _claim_where(self, worker_id: UUID, which: Q, limit: int) -> list[Claim]:
        if not self.live_worker(worker_id):
            return []
        due = self.due(which).order_by(*BEST_FIRST).select_for_update(skip_locked=True)
        ids = list(due.values_list("id", flat=True)[:limit])
        if not ids:
            return []
        self.attempts.filter(CLAIMABLE, pk__in=ids).update(
            claimed_by=worker_id,
            claim_seq=F("claim_seq") + 1,
            num_attempts=F("num_attempts") + 1,
            started_at=DatabaseNow(),
        )
        mine = self.attempts.filter(pk__in=ids, claimed_by=worker_id).annotate(late=IS_LATE)
        place = {attempt_id: number for number, attempt_id in enumerate(ids)}
        rows = sorted(mine.values_list(*COLUMNS, "late"), key=lambda row: place[row[0]])
        return [Claim._make((*row, self.alias)) for row in rows]

    def release_unknown(self, worker_id: UUID) -> int:
        """Give back, with their counts, all claims of a worker that has none in hand.

        The database committed them, and the worker never heard of it. Returns how many.
        """

        def work() -> int:
            # Waits for a claim that is still being made over the connection that was lost.
            list(self.workers.filter(pk=worker_id).select_for_update().values_list("pk"))
            held = self.attempts.filter(status=Status.PENDING, claimed_by=worker_id)
            ids = list(held.order_by("id").select_for_update().values_list("id", flat=True))
            given_back = {"claimed_by": None, "started_at": None}
            return held.filter(pk__in=ids).update(num_attempts=F("num_attempts") - 1, **given_back)

        return self.whole(work)

    def due(self, which: Q) -> AttemptQuerySet[Any]:
        """Those attempts among `which` that may be claimed now."""
        return self.attempts.filter(which, CLAIMABLE, scheduled_at__lte=DatabaseNow())

    def _without_late(self, worker_id: UUID, claims: Sequence[Claim]) -> list[Claim]:
        if late := [claim for claim in claims if claim.late]:
            self.finish(worker_id, [(claim, TOO_LATE) for claim in late])
        return [claim for claim in claims if not claim.late]
