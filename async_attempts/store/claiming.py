"""Promote what became due, and claim a batch of it: committed before any target is called."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F, Q

from ..lifecycle import Status
from ..models import DatabaseNow
from .claims import TOO_LATE, Claim
from .finishing import Finishing

ORDINARY: Final = "num_crashes = 0"
SUSPECT: Final = "num_crashes > 0"


class Which(NamedTuple):
    """Which pending attempts a claim is to take: a condition in SQL and its parameter."""

    sql: str
    param: Any


class Claiming(Finishing):
    """From scheduled to pending to running."""

    def promote(self, limit: int = 1000) -> int:
        """Make at most `limit` due scheduled attempts pending; returns how many."""

        def work() -> int:
            due = self.attempts.filter(status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow())
            due = due.order_by("scheduled_at", "id").select_for_update(skip_locked=True)
            ids = list(due.values_list("id", flat=True)[:limit])
            rows = self.attempts.filter(pk__in=ids, status=Status.SCHEDULED)
            promoted = rows.update(status=Status.PENDING) if ids else 0
            if promoted:
                # It may be another queue's, whose workers have seen it locked, and looked away.
                self.pass_gate()
            return promoted

        return self.whole(work)

    def promote_one(self, attempt_id: UUID) -> None:
        """Make this attempt pending, if it is scheduled and due."""
        due = self.attempts.filter(
            pk=attempt_id, status=Status.SCHEDULED, scheduled_at__lte=DatabaseNow()
        )
        self.whole(lambda: due.update(status=Status.PENDING))

    def claim(
        self, worker_id: UUID, queues: Iterable[str], limit: int, *, suspects: bool = False
    ) -> list[Claim]:
        """Claim the best `limit` due attempts of `queues`, the first queue's first.

        Claims nothing for a worker that isn't live. What is past its `expires_at` is finished as
        expired instead. Suspects (in hand when a worker died) are claimed only when asked for.
        """
        kind = SUSPECT if suspects else ORDINARY
        claims: list[Claim] = []
        for queue in queues:
            found_late = True
            while found_late and len(claims) < limit:
                which = Which(f"queue = %(which)s AND {kind}", queue)
                found = self._claim_where(worker_id, which, limit - len(claims))
                in_time = self._without_late(worker_id, found)
                claims += in_time
                # There may be more behind those that came too late.
                found_late = len(in_time) < len(found)
        return claims

    def claim_one(self, worker_id: UUID, attempt_id: UUID) -> Claim | None:
        """Claim this attempt, if it is due and nobody has; None if not."""
        claims = self._claim_where(worker_id, Which("id = %(which)s", attempt_id), 1)
        return next(iter(self._without_late(worker_id, claims)), None)

    @abstractmethod
    def _claim_where(self, worker_id: UUID, which: Which, limit: int) -> list[Claim]:
        """Claim the best of `which`, late or not, in a transaction of its own."""

    def release_unknown(self, worker_id: UUID, in_hand: Collection[UUID] = ()) -> int:
        """Give back, with their counts, a worker's claims but for those that it has `in_hand`.

        The database committed them, and the worker never heard of it. Returns how many.
        """

        def work() -> int:
            # Waits for a claim that is still being made over the connection that was lost.
            list(self.workers.filter(pk=worker_id).select_for_update().values_list("pk"))
            held = self.attempts.filter(status=Status.PENDING, claimed_by=worker_id)
            held = held.exclude(pk__in=in_hand)
            ids = list(held.order_by("id").select_for_update().values_list("id", flat=True))
            given_back = {"claimed_by": None, "started_at": None}
            self.pass_gate()
            return held.filter(pk__in=ids).update(num_attempts=F("num_attempts") - 1, **given_back)

        return self.whole(work)

    def due(self, which: Q) -> Any:
        """Those attempts among `which` that may be claimed now."""
        return self.attempts.filter(
            which, status=Status.PENDING, claimed_by=None, scheduled_at__lte=DatabaseNow()
        )

    def _without_late(self, worker_id: UUID, claims: Sequence[Claim]) -> list[Claim]:
        late = [c for c in claims if c.seconds_left is not None and c.seconds_left <= 0]
        if not late:
            return list(claims)
        self.finish(worker_id, [(claim, TOO_LATE) for claim in late])
        return [c for c in claims if c.seconds_left is None or c.seconds_left > 0]
