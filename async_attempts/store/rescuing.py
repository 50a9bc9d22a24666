"""Take back what a dead worker held."""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from uuid import UUID

from ..conf import settings
from ..encryption import Context
from ..exceptions import WorkerLost
from ..lifecycle import FailureKind, Status
from ..models import DatabaseNow, Failure, Worker, sealed_details
from .finishing import CANCELLED
from .rows import Rows, ended

HELD_COLUMNS: Final = (
    "id target target_pk method_name num_attempts num_crashes claim_seq cancel_requested started_at"
).split()


class Rescue(NamedTuple):
    """What one sweep took back: the attempts' ids, and those of them that failed for good."""

    worker_id: UUID
    attempt_ids: list[UUID]
    failed_ids: list[UUID]


class Rescuing(Rows):
    """From running back to pending, with the crash counted."""

    def rescue(self) -> list[Rescue]:
        """Take back what is in hand of workers whose lease has run out, or who are dead already.

        What a dead worker's atomic transaction still locks stays for the next sweep. Each attempt
        counts a crash and becomes a suspect; at MAX_CRASHES it is failed.
        """
        return [rescue for worker in self._dead_workers() if (rescue := self._take_back(worker))]

    def _dead_workers(self) -> list[Worker]:
        def work() -> list[Worker]:
            expired = self.workers.filter(state=Worker.State.LIVE, lease__lt=DatabaseNow())
            locked = list(expired.order_by("id").select_for_update(skip_locked=True))
            ids = [worker.pk for worker in locked]
            # From here on its claims find no live worker, and its renewals no row.
            expired.filter(pk__in=ids).update(state=Worker.State.DEAD)
            return list(self.workers.filter(state=Worker.State.DEAD).order_by("id"))

        return self.whole(work)

    def _take_back(self, worker: Worker) -> Rescue | None:
        def work() -> Rescue | None:
            holder = self.workers.filter(pk=worker.pk, state=Worker.State.DEAD)
            if not list(holder.select_for_update(skip_locked=True)):
                return None
            held = self.attempts.filter(status=Status.PENDING, claimed_by=worker.pk)
            rows = held.order_by("id").select_for_update(skip_locked=True)
            taken = list(rows.values_list(*HELD_COLUMNS, named=True))
            failed = [row for row in taken if row.num_crashes + 1 >= settings().MAX_CRASHES]
            self.failures.bulk_create(self._lost(worker, row) for row in taken)
            for row in taken:
                mine = held.filter(pk=row.id, claim_seq=row.claim_seq)
                mine.update(**self._after_crash(row))
            if not held.exists():
                holder.update(state=Worker.State.RESCUED)
            if not taken:
                return None
            return Rescue(worker.pk, [row.id for row in taken], [row.id for row in failed])

        return self.whole(work)

    def _after_crash(self, row: Any) -> dict[str, Any]:
        crashes = row.num_crashes + 1
        counted = {"num_crashes": crashes, "error_class": WorkerLost.__name__}
        if row.cancel_requested:
            return ended(Status.EXPIRED, reason=CANCELLED.reason, **counted)
        if crashes >= settings().MAX_CRASHES:
            reason = f"its worker was lost {crashes} times while it was in hand"
            return ended(Status.FAILED, reason=reason, **counted)
        return {"claimed_by": None, **counted}

    def _lost(self, worker: Worker, row: Any) -> Failure:
        message = f"worker {worker} on {worker.host} was lost: its lease ran out"
        context = Context("error", row.id, row.target, row.target_pk, row.method_name)
        return Failure(
            attempt_id=row.id,
            number=row.num_attempts,
            kind=FailureKind.LEASE,
            error_class=WorkerLost.__name__,
            details=sealed_details(message, "", context),
            started_at=row.started_at,
            failed_at=DatabaseNow(),
            worker=worker.pk,
        )
