"""Outcomes and progress of executions, recorded in batches, each by the fence of its claim.

Rows are locked in the order of their ids.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F, Value
from django.db.models.functions import Coalesce

from ..batches import by_size
from ..lifecycle import (
    NOT_KEPT,
    Expired,
    Failed,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Status,
    Succeeded,
)
from ..models import AttemptQuerySet, DatabaseNow, Failure
from ..signals import ended as ended_signal
from .claimed import TOO_LATE, Claim
from .database import Database
from .dependencies import Dependencies
from .dialects.base import Dialect, Held
from .ends import Ends
from .expressions import ONE_MORE_SNOOZE, UNBEGUN, UNCOUNTED, due_in, ended, moved_to
from .revisits import QUICK

Result = tuple[Claim, Outcome]


class ProgressReport(NamedTuple):
    """The progress of one execution: a percentage from 0 to 100, and a note."""

    claim: Claim
    percent: int
    note: str


class Unrecorded(list[Claim]):
    """The claims of a finish that had been lost, and of which nothing was recorded.

    `locked`: claims whose rows another transaction locks; they still hold, and are to be offered
    again.
    """

    def __init__(self, lost: Iterable[Claim] = (), locked: Iterable[Claim] = ()) -> None:
        super().__init__(lost)
        self.locked = list(locked)


AGAIN: Final = (Retried, Snoozed, Released)
FAILURES_IN_A_STATEMENT: Final = 20
"""The longest of them fit the 16 MiB that MariaDB takes at once."""

ROWS_IN_A_STATEMENT: Final = 250

GLANCES: Final = (0.001,)
"""Seconds after which what is locked is tried once more, also by a loop."""

CANCELLED: Final = Expired("cancelled while it ran")
CANCEL_REASON: Final = Coalesce(F("cancel_reason"), Value(CANCELLED.reason))
"""The reason that somebody gave for a cancellation, else ours."""


class Outcomes:
    """Outcomes of executions: from running to what came of it."""

    def __init__(
        self,
        database: Database,
        dialect: Dialect,
        dependencies: Dependencies,
        ends: Ends,
    ) -> None:
        self.database = database
        self.dialect = dialect
        self.dependencies = dependencies
        self.ends = ends

    def finish(self, worker_id: UUID, results: Sequence[Result]) -> Unrecorded:
        """Record `results` in one transaction; returns those of which nothing was recorded.

        A claim is lost when it was rescued, or when a person expired or failed the attempt. A row
        that another transaction locks is passed over: its claim is among the `locked` ones, and may
        be offered again, as may be what a finish has recorded whose answer was lost.
        """
        unrecorded = self._finish(worker_id, results) if results else Unrecorded()
        pauses = iter(GLANCES if self.database.revisits.is_loop else (*GLANCES, *QUICK))
        while unrecorded.locked and (pause := next(pauses, None)) is not None:
            # On PostgreSQL a claim of somebody else's that found a row taken locks it all the same,
            # until it is committed.
            time.sleep(pause)
            locked = {claim.id_bytes for claim in unrecorded.locked}
            again = [one for one in results if one[0].id_bytes in locked]
            later = self._finish(worker_id, again)
            unrecorded = Unrecorded([*unrecorded, *later], later.locked)
        return unrecorded

    def _finish(self, worker_id: UUID, results: Sequence[Result]) -> Unrecorded:
        """`finish`, tried once."""
        if self.dialect.finishes_alone and _is_one_statement(results):
            held = self.database.in_autocommit(lambda: self._succeed(worker_id, results))
            self._announce_successes(worker_id, results, held)
            left = [claim for claim, _ in results] if held < len(results) else []
        else:
            left = self.database.in_transaction(lambda: self.finish_within(worker_id, results))
        return self._sorted_out(worker_id, results, left) if left else Unrecorded()

    def finish_within(self, worker_id: UUID, results: Sequence[Result]) -> list[Claim]:
        """`finish`, as a part of the transaction that is open: an atomic attempt's own.

        Returns the claims of which nothing was recorded.
        """
        if all(_is_plain(outcome) for _, outcome in results):
            claims = [claim for claim, _ in results]
            held = self._succeed(worker_id, results)
            self._announce_successes(worker_id, results, held)
            if held == len(claims):
                return []
            ours = self._succeeded_of(worker_id, claims)
            return [claim for claim in claims if ours.get(claim.id) != claim.claim_seq]
        locked = self.dialect.lock_claimed(worker_id, [claim for claim, _ in results])
        current = [(c, o) for c, o in results if _is_fence_of(locked.get(c.id), c)]
        self._record(worker_id, current, locked)
        failures = [
            _failure(worker_id, claim, outcome)
            for claim, outcome in current
            if isinstance(outcome, Retried | Failed)
        ]
        self.database.failures.bulk_create(failures, FAILURES_IN_A_STATEMENT)
        self.ends.follow([claim.id for claim, _ in current if locked[claim.id].on_ended])
        self.ends.announce([claim.id for claim, _ in current] if ended_signal.receivers else ())
        if any(isinstance(outcome, AGAIN) for _, outcome in current):
            self.database.notify_due()
        over = [
            c.id for c, o in current if locked[c.id].cancel_requested or not isinstance(o, AGAIN)
        ]
        self.dependencies.close_when_committed(self.dependencies.with_dependents(over))
        kept = {claim.id_bytes for claim, _ in current}
        return [claim for claim, _ in results if claim.id_bytes not in kept]

    def _record(
        self, worker_id: UUID, current: Sequence[Result], held: Mapping[UUID, Held]
    ) -> None:
        """Write the outcomes of these claims, which are locked: equal ones together."""
        alike: defaultdict[tuple[Outcome, int, bool], list[UUID]] = defaultdict(list)
        with_results: defaultdict[int, dict[UUID, bytes]] = defaultdict(dict)
        for claim, outcome in current:
            cancelled = isinstance(outcome, AGAIN) and held[claim.id].cancel_requested
            recorded = CANCELLED if cancelled else outcome
            if isinstance(recorded, Succeeded) and recorded.result:
                with_results[claim.claim_seq][claim.id] = recorded.result
            else:
                alike[recorded, claim.claim_seq, recorded is TOO_LATE].append(claim.id)
        for (outcome, seq, late), ids in alike.items():
            self.database.fenced(worker_id, seq, ids).update(**_columns(outcome, late))
        for seq, results_by_id in with_results.items():
            pairs = results_by_id.items()
            for some in by_size(pairs, lambda one: len(one[1]), number=ROWS_IN_A_STATEMENT):
                self.dialect.succeed_with(worker_id, seq, dict(some))

    def hold(self, worker_id: UUID, claim: Claim) -> bool:
        """Lock the claimed row until the open transaction ends.

        False when the claim was lost, or another transaction locks the row: `still_holds` tells.
        """
        locked = self.dialect.lock_claimed(worker_id, [claim])
        return _is_fence_of(locked.get(claim.id), claim)

    def still_holds(self, worker_id: UUID, claim: Claim) -> bool:
        """Return True if the claim still holds, whether or not somebody locks its row."""
        return bool(self.database.still_held(worker_id, [claim]))

    def _succeed(self, worker_id: UUID, results: Sequence[Result]) -> int:
        """Record those of these plain successes that are still held; returns their number."""
        alike: defaultdict[tuple[bool, int], list[bytes]] = defaultdict(list)
        for claim, outcome in results:
            alike[_drops_result(outcome), claim.claim_seq].append(claim.id_bytes)
        succeeded = 0
        with_dependents: list[UUID] = []
        for (drops, seq), ids in sorted(alike.items()):
            number, dependents = self.dialect.succeed(worker_id, seq, sorted(ids), drops)
            succeeded += number
            if dependents is None:
                # An id as such takes a microsecond to make: only where somebody may wait.
                dependents = self.dependencies.with_dependents(UUID(bytes=one) for one in ids)
            with_dependents += dependents
        self.dependencies.close_when_committed(with_dependents)
        return succeeded

    def _announce_successes(self, worker_id: UUID, results: Sequence[Result], held: int) -> None:
        """Announce those of these plain successes that were recorded, `held` in number."""
        if not ended_signal.receivers:
            return
        claims = [claim for claim, _ in results]
        if held < len(claims):
            ours = self._succeeded_of(worker_id, claims)
            claims = [claim for claim in claims if ours.get(claim.id) == claim.claim_seq]
        self.ends.announce_as(Status.SUCCEEDED, [claim.id for claim in claims])

    def interrupted(self, claims: Sequence[Claim]) -> dict[tuple[bytes, int], str]:
        """Return the reasons for which somebody wants these executions interrupted, by fence."""
        rows = self.database.attempts.filter(
            pk__in=[claim.id for claim in claims], status=Status.PENDING, interrupt=True
        )
        found = rows.values_list("pk", "claim_seq", "cancel_reason")
        return {(pk.bytes, seq): reason or CANCELLED.reason for pk, seq, reason in found}

    def _succeeded_of(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, int]:
        """Return the attempts that this worker let succeed, each with the number of its claim."""
        ids = [claim.id for claim in claims]
        succeeded = self.database.attempts.filter(
            pk__in=ids, claimed_by=worker_id, status=Status.SUCCEEDED
        )
        return dict(succeeded.values_list("id", "claim_seq"))

    def _sorted_out(
        self, worker_id: UUID, results: Sequence[Result], left: Sequence[Claim]
    ) -> Unrecorded:
        """Sort the claims that a finish had to leave: lost, locked, or recorded before.

        First, without a lock, which of them still hold: what has ended since isn't locked but lost.
        """
        locked = self.database.still_held(worker_id, left)
        if len(locked) == len(left):
            return Unrecorded((), locked)
        held = {claim.id_bytes for claim in locked}
        gone = [claim for claim in left if claim.id_bytes not in held]
        return Unrecorded(self._unless_recorded(worker_id, results, gone), locked)

    def _unless_recorded(
        self, worker_id: UUID, results: Sequence[Result], lost: Sequence[Claim]
    ) -> list[Claim]:
        """Return `lost` without what an earlier finish of the same outcome had recorded.

        Nobody but the holder of this claim could have let it succeed, or put it off.
        """
        outcomes = {claim.id_bytes: outcome for claim, outcome in results}
        succeeded = self._succeeded_of(worker_id, lost)
        put_off = self.database.attempts.filter(
            pk__in=[c.id for c in lost], status=Status.SCHEDULED
        )
        later = dict(put_off.values_list("id", "claim_seq"))
        recorded = {Succeeded: succeeded, Retried: later, Snoozed: later}
        return [
            claim
            for claim in lost
            if recorded.get(type(outcomes[claim.id_bytes]), {}).get(claim.id) != claim.claim_seq
        ]


class Progress:
    """Writes of progress; no move: running stays running."""

    def __init__(self, database: Database, dialect: Dialect) -> None:
        self.database = database
        self.dialect = dialect

    def write(
        self, reports: Sequence[ProgressReport]
    ) -> tuple[list[ProgressReport], list[ProgressReport]]:
        """Write the reports whose claim still holds.

        Returns the ones that were written, and the ones that are left as another transaction locks
        their row: it may be the target's own, and last as long as that.
        """
        written = self.database.in_transaction(lambda: self.write_within(reports))
        return written, self._left(written, reports)

    def try_to_write(
        self, reports: Sequence[ProgressReport]
    ) -> tuple[list[ProgressReport], list[ProgressReport]]:
        """Do as `write`, and leave all of them where that would wait for the one writer."""
        written = self.dialect.without_waiting(lambda: self.write_within(reports))
        return ([], list(reports)) if written is None else (written, self._left(written, reports))

    def write_within(self, reports: Sequence[ProgressReport]) -> list[ProgressReport]:
        """`write`, as a part of the transaction that is open; returns what was written."""
        rows = self.database.skipping_locked(self._running(reports).order_by("id"))
        if held := self._held(reports, rows):
            percents = {one.claim.id: one.percent for one in held}
            self.dialect.write_progress(percents, {one.claim.id: one.note for one in held})
        return held

    def _left(
        self, written: Sequence[ProgressReport], reports: Sequence[ProgressReport]
    ) -> list[ProgressReport]:
        there = {_fence(one.claim) for one in written}
        left = [one for one in reports if _fence(one.claim) not in there]
        return self._held(left, self._running(left)) if left else []

    def _running(self, reports: Sequence[ProgressReport]) -> AttemptQuerySet[Any]:
        return self.database.attempts.filter(
            pk__in=[one.claim.id for one in reports],
            status=Status.PENDING,
            claimed_by__in={one.claim.worker_id for one in reports},
        )

    def _held(
        self, reports: Sequence[ProgressReport], rows: AttemptQuerySet[Any]
    ) -> list[ProgressReport]:
        """Return the reports on attempts among `rows`, under the same claim."""
        held = set(rows.values_list("id", "claimed_by", "claim_seq"))
        return [one for one in reports if _fence(one.claim) in held]


def _is_plain(outcome: Outcome) -> bool:
    """Return True if there is nothing to record but success, and that a result is dropped."""
    return type(outcome) is Succeeded and not outcome.result


def _is_one_statement(results: Sequence[Result]) -> bool:
    """Return True for plain successes, alike, under claims of one number."""
    claim, outcome = results[0]
    seq, drops = claim.claim_seq, _drops_result(outcome)
    return all(
        _is_plain(o) and c.claim_seq == seq and _drops_result(o) is drops for c, o in results
    )


def _drops_result(outcome: Outcome) -> bool:
    """Return True if the target returned something that nobody asked to keep."""
    return type(outcome) is Succeeded and outcome.result == NOT_KEPT


def _columns(outcome: Outcome, late: bool) -> dict[str, Any]:
    """Return the columns that record `outcome`."""
    match outcome:
        case Succeeded(result):
            noted = {} if result is None else {"sealed_result": result}
            return ended(Status.SUCCEEDED, num_crashes=0, **noted)
        case Failed(reason, error):
            columns = {"error_class": error.error_class, "num_crashes": 0}
            return ended(Status.FAILED, reason=reason, failure_kind=error.kind, **columns)
        case Expired(reason):
            given_back = {"num_attempts": UNCOUNTED} if late else {}
            said: Any = CANCEL_REASON if outcome is CANCELLED else reason
            return ended(Status.EXPIRED, reason=said, **given_back)
        case Retried(delay, error, queue, priority, was_called):
            columns = moved_to(queue, priority) | ({"num_crashes": 0} if was_called else {})
            return due_in(delay, error_class=error.error_class, **columns)
        case Snoozed(delay):
            return due_in(delay, num_attempts=UNCOUNTED, num_crashes=0, num_snoozes=ONE_MORE_SNOOZE)
        case Released(delay, reason):
            why = {"reason": reason} if reason else {}
            return due_in(delay) | UNBEGUN | why if delay else UNBEGUN


def _failure(worker_id: UUID, claim: Claim, outcome: Retried | Failed) -> Failure:
    return Failure(
        attempt_id=claim.id,
        number=claim.num_attempts,
        kind=outcome.error.kind,
        error_class=outcome.error.error_class,
        details=outcome.error.details,
        started_at=claim.started_at,
        failed_at=DatabaseNow(),
        worker=worker_id,
    )


def _is_fence_of(held: Held | None, claim: Claim) -> bool:
    return held is not None and held.claim_seq == claim.claim_seq


def _fence(claim: Claim) -> tuple[UUID, UUID, int]:
    return claim.id, claim.worker_id, claim.claim_seq
