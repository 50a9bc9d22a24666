"""Workers: their leases, and taking back what a dead one held."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from ..conf import settings
from ..encryption import context_of
from ..exceptions import AttemptTimeout, WorkerLost
from ..lifecycle import FailureKind, Status
from ..models import AbstractAttempt, AttemptQuerySet, DatabaseNow, Failure, Worker, sealed_details
from ..models.bounds import MOST_CRASHES
from ..models.fields import Mark, marked
from ..printable import printable
from ..targets import crashes_allowed, known_policy
from .database import Database
from .dependencies import Dependencies
from .dialects.base import Dialect
from .ends import Ends
from .expressions import UNBEGUN, due_in, ended, moved_to, seconds_from_now
from .limits import Limits
from .outcomes import CANCEL_REASON

LATE_SHARE: Final = 0.6
"""The share of a lease that is always left to a worker that renews it every third of it."""

HELD_COLUMNS: Final = (
    *marked(AbstractAttempt, Mark.BOUND),
    *"num_attempts max_attempts num_crashes claim_seq".split(),
    *"cancel_requested started_at limit_key queue".split(),
)


class Verdict(NamedTuple):
    """The reason why an attempt was lost: it counts a crash, and becomes a suspect.

    `delay`: seconds until it is due again; `queue` and `priority`: where, "" and None where it was.
    `reason`: why it fails for good instead, if it does.
    `has_begun`: False for one that was claimed only: its execution is given back, and a failure is
    recorded when it fails for good.
    """

    kind: FailureKind
    message: str
    delay: float = 0.0
    reason: str = ""
    has_begun: bool = True
    queue: str = ""
    priority: int | None = None


VerdictOf = Callable[[Any], Verdict | None]
"""A function that says of a row with HELD_COLUMNS what became of it; None: not begun, its count is
given back."""


class Rescue(NamedTuple):
    """The attempts that were taken back from one worker, and those of them that failed for good.

    `is_complete`: the worker holds nothing any more. `num_released`: how many others were given
    back, with their counts, as they had not begun.
    """

    worker_id: UUID
    attempt_ids: list[UUID]
    failed_ids: list[UUID]
    is_complete: bool
    num_released: int = 0


class Workers:
    """The rows of workers, and from running back to pending, with the crash counted."""

    def __init__(
        self,
        database: Database,
        dialect: Dialect,
        dependencies: Dependencies,
        ends: Ends,
        limits: Limits,
    ) -> None:
        self.database = database
        self.dialect = dialect
        self.dependencies = dependencies
        self.ends = ends
        self.limits = limits

    # --- leases

    def register(self, worker: Worker, lease: float) -> None:
        """Write a new worker's row; its lease holds for `lease` seconds."""
        worker.lease = seconds_from_now(lease)

        def work() -> None:
            worker.save(using=self.database.alias, force_insert=True)

        self.database.in_transaction(work)

    def renew(self, worker_id: UUID, lease: float) -> bool:
        """Renew the lease for `lease` seconds from now, however late; False: was rescued."""
        mine = self.database.workers.filter(pk=worker_id, state=Worker.State.LIVE)
        update = partial(mine.update, lease=seconds_from_now(lease))
        return self.database.in_autocommit(update) == 1

    def renew_unlocked(self, worker_ids: Collection[UUID], lease: float) -> list[UUID]:
        """Renew the leases of the workers whose rows nobody locks; return their ids.

        A worker that is starved in the midst of a claim doesn't keep back the others.
        """

        def work() -> list[UUID]:
            mine = self.database.workers.filter(
                pk__in=worker_ids, state=Worker.State.LIVE
            ).order_by("id")
            unlocked = list(mine.select_for_update(skip_locked=True).values_list("pk", flat=True))
            self.database.workers.filter(pk__in=unlocked).update(lease=seconds_from_now(lease))
            return unlocked

        return self.database.in_transaction(work)

    def deregister(self, worker_id: UUID) -> None:
        """Note that a worker, which holds nothing any more, ended."""
        mine = self.database.workers.filter(pk=worker_id, state=Worker.State.LIVE)
        self.database.in_transaction(lambda: mine.update(state=Worker.State.STOPPED))

    def forget(self, age: float) -> int:
        """Delete the rows of workers whose lease ended `age` seconds ago and that hold nothing."""
        over = self.database.workers.filter(state__in=(Worker.State.STOPPED, Worker.State.RESCUED))
        old = over.filter(lease__lt=seconds_from_now(-age)).order_by("pk")
        if not old.exists():
            return 0

        def work() -> int:
            ids = list(old.select_for_update(skip_locked=True).values_list("pk", flat=True))
            self.dialect.delete(Worker, ids)
            return len(ids)

        return self.database.in_transaction(work)

    def late_leases(self, lease: float) -> dict[UUID, datetime]:
        """Return the leases, by their workers' ids, that should have been renewed before now.

        `lease`: the length of one, in seconds.
        """
        late = seconds_from_now(lease * LATE_SHARE)
        rows = self.database.workers.filter(state=Worker.State.LIVE, lease__lt=late)
        return dict(rows.values_list("pk", "lease"))

    def has_dead(self) -> bool:
        """Return True if a lease has run out, or a dead worker still holds attempts."""
        expired = Q(state=Worker.State.LIVE, lease__lt=DatabaseNow())
        return self.database.workers.filter(expired | Q(state=Worker.State.DEAD)).exists()

    # --- rescues

    def rescue(self, unchanged: Mapping[UUID, datetime] | None = None) -> list[Rescue]:
        """Take back the attempts of workers whose lease has run out, or that are dead already.

        `unchanged`: of those whose lease has run out only these, if it is still the same. None: of
        all, by the database's clock alone.
        What a dead worker's atomic transaction still locks stays for the next sweep. Each attempt
        counts a crash and becomes a suspect; at the most that are allowed it is failed.
        """
        dead = self._dead(unchanged)
        rescues = [self._take_back(worker, _lease_ran_out(worker)) for worker in dead]
        return [rescue for rescue in rescues if rescue is not None and rescue.attempt_ids]

    def reap(self, worker_id: UUID, verdict_of: VerdictOf) -> Rescue | None:
        """Take back what a worker held that is known to be dead, as `verdict_of` says of each.

        Waits for a claim that it is still making. To be called again while it isn't complete;
        None when there is no such worker, or all of it was taken back.
        """

        def work() -> Worker | None:
            mine = self.database.workers.filter(
                pk=worker_id, state__in=(Worker.State.LIVE, Worker.State.DEAD)
            )
            worker = mine.select_for_update().first()
            mine.update(state=Worker.State.DEAD)
            return worker

        worker = self.database.in_transaction(work)
        if worker is None:
            return None
        return self._take_back(worker, verdict_of) or Rescue(worker_id, [], [], is_complete=False)

    def rescue_orphans(self) -> list[Rescue]:
        """Take back what is claimed by workers that ended, were rescued, or have no row.

        A worker that said goodbye had begun nothing of it: that is given back. Of the others nobody
        knows; each attempt counts a crash.
        """
        alive = self.database.workers.filter(
            pk=OuterRef("claimed_by"), state__in=(Worker.State.LIVE, Worker.State.DEAD)
        )
        claimed = self.database.attempts.filter(status=Status.PENDING, claimed_by__isnull=False)
        orphans = claimed.filter(~Exists(alive)).order_by()
        gone = set(orphans.values_list("claimed_by", flat=True).distinct())
        if not gone:
            return []
        stopped = self.database.workers.filter(pk__in=gone, state=Worker.State.STOPPED)
        goodbyes = set(stopped.values_list("pk", flat=True))
        verdicts = {pk: _said_goodbye if pk in goodbyes else _is_unknown for pk in gone}
        rescues = [self._take(pk, verdict_of, orphans) for pk, verdict_of in verdicts.items()]
        return [rescue for rescue in rescues if rescue is not None]

    def _dead(self, unchanged: Mapping[UUID, datetime] | None) -> list[Worker]:
        def work() -> list[Worker]:
            expired = self.database.workers.filter(state=Worker.State.LIVE, lease__lt=DatabaseNow())
            if unchanged is not None:
                expired = expired.filter(pk__in=list(unchanged))
            locked = list(expired.order_by("id").select_for_update(skip_locked=True))
            ids = [w.pk for w in locked if unchanged is None or unchanged[w.pk] == w.lease]
            # From here on its claims find no live worker, and its renewals no row.
            expired.filter(pk__in=ids).update(state=Worker.State.DEAD)
            return list(self.database.workers.filter(state=Worker.State.DEAD).order_by("id"))

        return self.database.in_transaction(work)

    def _take_back(self, worker: Worker, verdict_of: VerdictOf) -> Rescue | None:
        holder = self.database.workers.filter(pk=worker.pk, state=Worker.State.DEAD)
        pending = self.database.attempts.filter(status=Status.PENDING)
        return self._take(worker.pk, verdict_of, pending, holder)

    def _take(
        self,
        worker_id: UUID,
        verdict_of: VerdictOf,
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
            unlocked = self.database.skipping_locked(held.order_by("id"))
            taken = list(unlocked.values_list(*HELD_COLUMNS, named=True))
            judged = [(row, verdict_of(row)) for row in taken]
            freed.update(row.limit_key for row in taken)
            released = [row.id for row, verdict in judged if verdict is None]
            mine = self.database.attempts.filter(status=Status.PENDING, claimed_by=worker_id)
            mine.filter(pk__in=released).update(**UNBEGUN)
            lost = [(row, verdict) for row, verdict in judged if verdict is not None]
            failed = self._record_lost(worker_id, lost)
            self.ends.note([row.id for row, _ in lost])
            over = self.dependencies.with_dependents([row.id for row, _ in lost])
            self.dependencies.close_when_committed(over)
            if taken:
                self.database.notify_due()
            is_complete = not held.exists()
            if holder is not None and is_complete:
                holder.update(state=Worker.State.RESCUED)
            ids = [row.id for row, verdict in lost if verdict.has_begun or row.id in failed]
            given_back = len(released) + len(lost) - len(ids)
            return Rescue(worker_id, ids, failed, is_complete, given_back)

        rescue = self.database.in_transaction(work)
        self.limits.unpark(freed)
        return rescue

    def _record_lost(self, worker_id: UUID, lost: Sequence[tuple[Any, Verdict]]) -> list[UUID]:
        """Write the verdicts on what a worker held; returns the ids of what failed."""
        after = [(row, verdict, _after_crash(row, verdict)) for row, verdict in lost]
        self.database.failures.bulk_create(
            _failure(self.database.alias, worker_id, row, verdict)
            for row, verdict, columns in after
            if verdict.has_begun or columns.get("status") == Status.FAILED
        )
        failed = []
        for row, _, columns in after:
            self.database.fenced(worker_id, row.claim_seq, [row.id]).update(**columns)
            if columns.get("status") == Status.FAILED:
                failed.append(row.id)
        return failed


def _after_crash(row: Any, verdict: Verdict) -> dict[str, Any]:
    crashes = min(row.num_crashes + 1, MOST_CRASHES)
    counted = {"num_crashes": crashes, "error_class": _error_of(verdict).__name__}
    moved = moved_to(verdict.queue, verdict.priority)
    if row.cancel_requested:
        return ended(Status.EXPIRED, reason=CANCEL_REASON, **counted)
    most = crashes_allowed(known_policy(row.target, row.method_name), row.queue)
    if not verdict.has_begun:
        most = max(most, settings().MAX_CRASHES)
    if crashes >= most:
        reason = lost_too_often(crashes)
        return ended(Status.FAILED, reason=reason, failure_kind=verdict.kind, **counted)
    if verdict.reason:
        return ended(Status.FAILED, reason=verdict.reason, failure_kind=verdict.kind, **counted)
    if verdict.delay:
        return due_in(verdict.delay, **counted, **moved)
    if not verdict.has_begun:
        return {"num_crashes": crashes, **UNBEGUN}
    return {"claimed_by": None, **counted, **moved}


def lost_too_often(crashes: int) -> str:
    """Return the reason of an attempt that fails since its workers were lost."""
    times = "once" if crashes == 1 else f"{crashes} times"
    return f"its worker was lost {times} while it was in flight"


def _failure(alias: str, worker_id: UUID, row: Any, verdict: Verdict) -> Failure:
    context = context_of("error", row.id, row, alias, row.num_attempts)
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


def _lease_ran_out(worker: Worker) -> VerdictOf:
    message = f"worker {worker} on {printable(worker.host)} was lost: its lease ran out"
    verdict = Verdict(FailureKind.LEASE, message)
    return lambda _row: verdict


def _said_goodbye(_row: Any) -> None:
    """Return None: a worker that ended by itself had recorded or given back all it knew of."""


def _is_unknown(_row: Any) -> Verdict:
    return Verdict(FailureKind.LEASE, "it was claimed by a worker that the database doesn't know")


def _error_of(verdict: Verdict) -> type[Exception]:
    return AttemptTimeout if verdict.kind == FailureKind.TIMEOUT else WorkerLost
