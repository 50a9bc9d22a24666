"""Take back what a dead worker held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F

from ..conf import settings
from ..encryption import Context
from ..exceptions import AttemptTimeout, WorkerLost
from ..lifecycle import FailureKind, Status
from ..models import DatabaseNow, Failure, Worker, sealed_details
from .finishing import CANCELLED
from .placing import Placing
from .rows import ended, seconds_from_now

HELD_COLUMNS: Final = (
    "id target target_pk method_name num_attempts max_attempts num_crashes claim_seq "
    "cancel_requested started_at limit_key"
).split()


class Verdict(NamedTuple):
    """Why an attempt was lost with its worker: it counts a crash, and becomes a suspect.

    `delay`: seconds until it is due again. `reason`: why it fails for good instead, if it does.
    """

    kind: FailureKind
    message: str
    delay: float = 0.0
    reason: str = ""


Judge = Callable[[Any], Verdict | None]
"""Says of a row with HELD_COLUMNS what became of it; None: not begun, its count is given back."""


class Rescue(NamedTuple):
    """What was taken back from one worker: the attempts' ids, and those that failed for good.

    `is_complete`: nothing is left in the worker's hands.
    """

    worker_id: UUID
    attempt_ids: list[UUID]
    failed_ids: list[UUID]
    is_complete: bool


class Rescuing(Placing):
    """From running back to pending, with the crash counted."""

    def rescue(self) -> list[Rescue]:
        """Take back what is in hand of workers whose lease has run out, or who are dead already.

        What a dead worker's atomic transaction still locks stays for the next sweep. Each attempt
        counts a crash and becomes a suspect; at MAX_CRASHES it is failed.
        """
        rescues = [self._take_back(worker, _lease_ran_out(worker)) for worker in self._dead()]
        return [rescue for rescue in rescues if rescue is not None and rescue.attempt_ids]

    def bury(self, worker_id: UUID, judge: Judge) -> Rescue | None:
        """Take back what a worker held that is known to be dead, as `judge` says of each.

        Waits for a claim that it is still making. To be called again while it isn't complete;
        None when there is no such worker, or all of it was taken back.
        """

        def work() -> Worker | None:
            mine = self.workers.filter(
                pk=worker_id, state__in=(Worker.State.LIVE, Worker.State.DEAD)
            )
            worker = mine.select_for_update().first()
            mine.update(state=Worker.State.DEAD)
            return worker

        worker = self.whole(work)
        if worker is None:
            return None
        return self._take_back(worker, judge) or Rescue(worker_id, [], [], is_complete=False)

    def _dead(self) -> list[Worker]:
        def work() -> list[Worker]:
            expired = self.workers.filter(state=Worker.State.LIVE, lease__lt=DatabaseNow())
            locked = list(expired.order_by("id").select_for_update(skip_locked=True))
            ids = [worker.pk for worker in locked]
            # From here on its claims find no live worker, and its renewals no row.
            expired.filter(pk__in=ids).update(state=Worker.State.DEAD)
            return list(self.workers.filter(state=Worker.State.DEAD).order_by("id"))

        return self.whole(work)

    def _take_back(self, worker: Worker, judge: Judge) -> Rescue | None:
        freed: set[str] = set()

        def work() -> Rescue | None:
            holder = self.workers.filter(pk=worker.pk, state=Worker.State.DEAD)
            if not list(holder.select_for_update(skip_locked=True)):
                return None
            held = self.attempts.filter(status=Status.PENDING, claimed_by=worker.pk)
            rows = held.order_by("id").select_for_update(skip_locked=True)
            taken = list(rows.values_list(*HELD_COLUMNS, named=True))
            judged = [(row, judge(row)) for row in taken]
            freed.update(row.limit_key for row in taken if row.limit_key)
            released = [row.id for row, verdict in judged if verdict is None]
            held.filter(pk__in=released).update(
                claimed_by=None, started_at=None, num_attempts=F("num_attempts") - 1
            )
            lost = [(row, verdict) for row, verdict in judged if verdict is not None]
            failed = self._record_lost(worker, lost)
            self.close_when_committed(self.with_dependents([row.id for row, _ in lost]))
            if taken:
                self.pass_gate()
            if lost:
                self.tell_waiters()
            if is_complete := not held.exists():
                holder.update(state=Worker.State.RESCUED)
            return Rescue(worker.pk, [row.id for row, _ in lost], failed, is_complete)

        rescue = self.whole(work)
        self.wake(freed)
        return rescue

    def _record_lost(self, worker: Worker, lost: Sequence[tuple[Any, Verdict]]) -> list[UUID]:
        """Write what became of what a worker had in hand; returns the ids of what failed."""
        self.failures.bulk_create(self._failed(worker, row, verdict) for row, verdict in lost)
        failed = []
        for row, verdict in lost:
            columns = self._after_crash(row, verdict)
            mine = self.attempts.filter(status=Status.PENDING, claimed_by=worker.pk)
            mine.filter(pk=row.id, claim_seq=row.claim_seq).update(**columns)
            if columns.get("status") == Status.FAILED:
                failed.append(row.id)
        return failed

    def _after_crash(self, row: Any, verdict: Verdict) -> dict[str, Any]:
        crashes = row.num_crashes + 1
        counted = {"num_crashes": crashes, "error_class": _error_of(verdict).__name__}
        if row.cancel_requested:
            return ended(Status.EXPIRED, reason=CANCELLED.reason, **counted)
        if crashes >= settings().MAX_CRASHES:
            reason = f"its worker was lost {crashes} times while it was in hand"
            return ended(Status.FAILED, reason=reason, **counted)
        if verdict.reason:
            return ended(Status.FAILED, reason=verdict.reason, **counted)
        if verdict.delay:
            later = {"scheduled_at": seconds_from_now(verdict.delay), "claimed_by": None}
            return {"status": Status.SCHEDULED, **later, **counted}
        return {"claimed_by": None, **counted}

    def _failed(self, worker: Worker, row: Any, verdict: Verdict) -> Failure:
        context = Context("error", row.id, row.target, row.target_pk, row.method_name)
        return Failure(
            attempt_id=row.id,
            number=row.num_attempts,
            kind=verdict.kind,
            error_class=_error_of(verdict).__name__,
            details=sealed_details(verdict.message, "", context),
            started_at=row.started_at,
            failed_at=DatabaseNow(),
            worker=worker.pk,
        )


def _lease_ran_out(worker: Worker) -> Judge:
    message = f"worker {worker} on {worker.host} was lost: its lease ran out"
    verdict = Verdict(FailureKind.LEASE, message)
    return lambda _row: verdict


def _error_of(verdict: Verdict) -> type[Exception]:
    return AttemptTimeout if verdict.kind == FailureKind.TIMEOUT else WorkerLost
