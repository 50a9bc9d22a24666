"""Take back what a dead worker held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from ..conf import settings
from ..encryption import context_of
from ..exceptions import AttemptTimeout, WorkerLost
from ..lifecycle import FailureKind, Status
from ..models import AttemptQuerySet, DatabaseNow, Failure, Worker, sealed_details
from ..models.bounds import MOST_CRASHES
from ..printable import printable
from .finishing import CANCELLED
from .placing import Placing
from .rows import UNCOUNTED, ended, seconds_from_now

HELD_COLUMNS: Final = (
    "id target target_pk method_name idempotence_token num_attempts max_attempts num_crashes "
    "claim_seq cancel_requested started_at limit_key"
).split()


class Verdict(NamedTuple):
    """Why an attempt was lost with its worker: it counts a crash, and becomes a suspect.

    `delay`: seconds until it is due again. `reason`: why it fails for good instead, if it does.
    `has_begun`: False for one that was claimed only: its execution is given back, and a failure is
    recorded when it fails for good.
    """

    kind: FailureKind
    message: str
    delay: float = 0.0
    reason: str = ""
    has_begun: bool = True


Judge = Callable[[Any], Verdict | None]
"""Says of a row with HELD_COLUMNS what became of it; None: not begun, its count is given back."""


class Rescue(NamedTuple):
    """What was taken back from one worker: the attempts' ids, and those that failed for good.

    `is_complete`: nothing is left in the worker's hands. `num_released`: how many others were given
    back, with their counts, as they had not begun.
    """

    worker_id: UUID
    attempt_ids: list[UUID]
    failed_ids: list[UUID]
    is_complete: bool
    num_released: int = 0


class Rescuing(Placing):
    """From running back to pending, with the crash counted."""

    def rescue(self, unchanged: Mapping[UUID, datetime] | None = None) -> list[Rescue]:
        """Take back what is in hand of workers whose lease has run out, or who are dead already.

        `unchanged`: of those whose lease has run out only these, if it is still the same. None: of
        all, by the database's clock alone.
        What a dead worker's atomic transaction still locks stays for the next sweep. Each attempt
        counts a crash and becomes a suspect; at MAX_CRASHES it is failed.
        """
        dead = self._dead(unchanged)
        rescues = [self._take_back(worker, _lease_ran_out(worker)) for worker in dead]
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

    def take_back_orphans(self) -> list[Rescue]:
        """Take back what is claimed by workers that ended, were rescued, or have no row.

        A worker that said goodbye had begun nothing of it: that is given back. Of the others nobody
        knows; each attempt counts a crash.
        """
        alive = self.workers.filter(
            pk=OuterRef("claimed_by"), state__in=(Worker.State.LIVE, Worker.State.DEAD)
        )
        claimed = self.attempts.filter(status=Status.PENDING, claimed_by__isnull=False)
        orphans = claimed.filter(~Exists(alive)).order_by()
        gone = set(orphans.values_list("claimed_by", flat=True).distinct())
        if not gone:
            return []
        stopped = self.workers.filter(pk__in=gone, state=Worker.State.STOPPED)
        goodbyes = set(stopped.values_list("pk", flat=True))
        judges = {pk: _said_goodbye if pk in goodbyes else _is_unknown for pk in gone}
        rescues = [self._take(pk, judge, orphans) for pk, judge in judges.items()]
        return [rescue for rescue in rescues if rescue is not None]

    def _dead(self, unchanged: Mapping[UUID, datetime] | None) -> list[Worker]:
        def work() -> list[Worker]:
            expired = self.workers.filter(state=Worker.State.LIVE, lease__lt=DatabaseNow())
            if unchanged is not None:
                expired = expired.filter(pk__in=list(unchanged))
            locked = list(expired.order_by("id").select_for_update(skip_locked=True))
            ids = [w.pk for w in locked if unchanged is None or unchanged[w.pk] == w.lease]
            # From here on its claims find no live worker, and its renewals no row.
            expired.filter(pk__in=ids).update(state=Worker.State.DEAD)
            return list(self.workers.filter(state=Worker.State.DEAD).order_by("id"))

        return self.whole(work)

    def _take_back(self, worker: Worker, judge: Judge) -> Rescue | None:
        holder = self.workers.filter(pk=worker.pk, state=Worker.State.DEAD)
        return self._take(worker.pk, judge, self.attempts.filter(status=Status.PENDING), holder)

    def _take(
        self,
        worker_id: UUID,
        judge: Judge,
        rows: AttemptQuerySet[Any],
        holder: QuerySet[Worker] | None = None,
    ) -> Rescue | None:
        """Take back those of `rows` that a worker holds, and that nobody else locks.

        `holder`: its row, locked meanwhile, and rescued when nothing is left; None while it is
        locked.
        """
        freed: set[str] = set()

        def work() -> Rescue | None:
            if holder is not None and not list(holder.select_for_update(skip_locked=True)):
                return None
            held = rows.filter(claimed_by=worker_id)
            unlocked = self.skipping_locked(held.order_by("id"))
            taken = list(unlocked.values_list(*HELD_COLUMNS, named=True))
            judged = [(row, judge(row)) for row in taken]
            freed.update(row.limit_key for row in taken if row.limit_key)
            released = [row.id for row, verdict in judged if verdict is None]
            mine = self.attempts.filter(status=Status.PENDING, claimed_by=worker_id)
            mine.filter(pk__in=released).update(
                claimed_by=None, started_at=None, num_attempts=UNCOUNTED
            )
            lost = [(row, verdict) for row, verdict in judged if verdict is not None]
            failed = self._record_lost(worker_id, lost)
            self.close_when_committed(self.with_dependents([row.id for row, _ in lost]))
            if taken:
                self.pass_gate()
            is_complete = not held.exists()
            if holder is not None and is_complete:
                holder.update(state=Worker.State.RESCUED)
            ids = [row.id for row, verdict in lost if verdict.has_begun or row.id in failed]
            given_back = len(released) + len(lost) - len(ids)
            return Rescue(worker_id, ids, failed, is_complete, given_back)

        rescue = self.whole(work)
        self.wake(freed)
        return rescue

    def _record_lost(self, worker_id: UUID, lost: Sequence[tuple[Any, Verdict]]) -> list[UUID]:
        """Write what became of what a worker had in hand; returns the ids of what failed."""
        after = [(row, verdict, self._after_crash(row, verdict)) for row, verdict in lost]
        self.failures.bulk_create(
            self._failed(worker_id, row, verdict)
            for row, verdict, columns in after
            if verdict.has_begun or columns.get("status") == Status.FAILED
        )
        failed = []
        for row, _, columns in after:
            mine = self.attempts.filter(status=Status.PENDING, claimed_by=worker_id)
            mine.filter(pk=row.id, claim_seq=row.claim_seq).update(**columns)
            if columns.get("status") == Status.FAILED:
                failed.append(row.id)
        return failed

    def _after_crash(self, row: Any, verdict: Verdict) -> dict[str, Any]:
        crashes = min(row.num_crashes + 1, MOST_CRASHES)
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
        if not verdict.has_begun:
            given_back = {"started_at": None, "num_attempts": UNCOUNTED}
            return {"claimed_by": None, "num_crashes": crashes, **given_back}
        return {"claimed_by": None, **counted}

    def _failed(self, worker_id: UUID, row: Any, verdict: Verdict) -> Failure:
        context = context_of("error", row.id, row, self.alias, row.num_attempts)
        return Failure(
            attempt_id=row.id,
            number=row.num_attempts,
            kind=verdict.kind,
            error_class=_error_of(verdict).__name__,
            details=sealed_details(verdict.message, "", context),
            started_at=row.started_at,
            failed_at=DatabaseNow(),
            worker=worker_id,
        )


def _lease_ran_out(worker: Worker) -> Judge:
    message = f"worker {worker} on {printable(worker.host)} was lost: its lease ran out"
    verdict = Verdict(FailureKind.LEASE, message)
    return lambda _row: verdict


def _said_goodbye(_row: Any) -> None:
    """A worker that ended by itself had recorded or given back all that it knew of."""


def _is_unknown(_row: Any) -> Verdict:
    return Verdict(FailureKind.LEASE, "it was claimed by a worker that the database doesn't know")


def _error_of(verdict: Verdict) -> type[Exception]:
    return AttemptTimeout if verdict.kind == FailureKind.TIMEOUT else WorkerLost
