"""Record what executions came to: in batches, fenced, rows locked in the order of their ids."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from django.db.models import BinaryField, Case, Value, When

from ..conf import retention
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
from ..models import AttemptQuerySet, DatabaseNow, Failure, Worker
from .claims import TOO_LATE, Claim
from .deleting import Deleting
from .revisits import QUICK
from .rows import UNCOUNTED, ended, seconds_from_now

Result = tuple[Claim, Outcome]


class Unrecorded(list[Claim]):
    """The claims of a finish that had been lost, and of which nothing was recorded.

    `locked`: those whose rows somebody else locks; they are still held, and to be offered again.
    """

    def __init__(self, lost: Iterable[Claim] = (), locked: Iterable[Claim] = ()) -> None:
        super().__init__(lost)
        self.locked = list(locked)


AGAIN: Final = (Retried, Snoozed, Released)
FAILURES_IN_A_STATEMENT: Final = 20
"""The longest of them fit the 16 MiB that MariaDB takes at once."""

BYTES_IN_A_STATEMENT: Final = 4 * 2**20
ROWS_IN_A_STATEMENT: Final = 250

GLANCES: Final = (0.001,)
"""Seconds after which what is locked is tried once more, also by a loop."""

CANCELLED: Final = Expired("cancelled while it ran")


def is_plain(outcome: Outcome) -> bool:
    """Whether there is nothing to record but that it succeeded, and if a result is dropped."""
    return type(outcome) is Succeeded and not outcome.result


def _by_seq(claims: Iterable[Claim]) -> Iterator[tuple[int, list[bytes]]]:
    """The ids of claims that have the same number, in their order."""
    seq = attrgetter("claim_seq")
    for number, group in groupby(sorted(claims, key=seq), key=seq):
        yield number, sorted(claim.id_bytes for claim in group)


def drops_result(outcome: Outcome) -> bool:
    """Whether the target returned something that nobody asked to keep."""
    return type(outcome) is Succeeded and outcome.result == NOT_KEPT


def _alike(results: Sequence[Result]) -> Iterator[tuple[bool, list[Claim]]]:
    """The claims of plain successes, apart by whether a result is dropped."""
    for drops in (False, True):
        if claims := [claim for claim, outcome in results if drops_result(outcome) is drops]:
            yield drops, claims


def _by_size(results: dict[UUID, bytes]) -> Iterator[dict[UUID, bytes]]:
    """As many at a time as go into one statement."""
    some: dict[UUID, bytes] = {}
    size = 0
    for pk, result in results.items():
        if some and (size + len(result) > BYTES_IN_A_STATEMENT or len(some) == ROWS_IN_A_STATEMENT):
            yield some
            some, size = {}, 0
        some[pk] = result
        size += len(result)
    if some:
        yield some


class Finishing(Deleting):
    """From running to what came of it."""

    def finish(self, worker_id: UUID, results: Sequence[Result]) -> Unrecorded:
        """Record `results` in one transaction; returns those of which nothing was recorded.

        A claim is lost when it was rescued, or when a person expired or failed the attempt. A row
        that another transaction locks is passed over: its claim is among the `locked` ones, and may
        be offered again, as may be what a finish has recorded whose answer was lost.
        """
        unrecorded = self._finish(worker_id, results) if results else Unrecorded()
        pauses = iter(GLANCES if self.revisits.is_loop else (*GLANCES, *QUICK))
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
        left = self.whole(lambda: self.finish_within(worker_id, results))
        return self._sorted_out(worker_id, results, left) if left else Unrecorded()

    def finish_within(self, worker_id: UUID, results: Sequence[Result]) -> list[Claim]:
        """`finish`, as a part of the transaction that is open: an atomic attempt's own.

        Returns the claims of which nothing was recorded.
        """
        if all(is_plain(outcome) for _, outcome in results):
            claims = [claim for claim, _ in results]
            if self._succeed(worker_id, results) == len(claims):
                return []
            ours = self._succeeded_of(worker_id, claims)
            return [claim for claim in claims if ours.get(claim.id) != claim.claim_seq]
        held = self._lock(worker_id, [claim for claim, _ in results])
        current = [(c, o) for c, o in results if held.get(c.id, (None,))[0] == c.claim_seq]
        self._record(worker_id, current, held)
        failures = [
            self._failure(worker_id, claim, outcome)
            for claim, outcome in current
            if isinstance(outcome, Retried | Failed)
        ]
        self.failures.bulk_create(failures, FAILURES_IN_A_STATEMENT)
        if any(isinstance(outcome, AGAIN) for _, outcome in current):
            self.pass_gate()
        over = [c.id for c, o in current if held[c.id][1] or not isinstance(o, AGAIN)]
        self.close_when_committed(self.with_dependents(over))
        kept = {claim.id_bytes for claim, _ in current}
        return [claim for claim, _ in results if claim.id_bytes not in kept]

    def _record(
        self, worker_id: UUID, current: Sequence[Result], held: Mapping[UUID, tuple[int, bool]]
    ) -> None:
        """Write what became of these claims, which are locked: what is alike together."""
        alike: defaultdict[tuple[Outcome, int, bool], list[Claim]] = defaultdict(list)
        with_results: defaultdict[int, dict[UUID, bytes]] = defaultdict(dict)
        succeeded = [claim for claim, outcome in current if isinstance(outcome, Succeeded)]
        gone = self._delete_succeeded(worker_id, succeeded)
        for claim, outcome in current:
            if claim.id in gone:
                continue
            cancelled = isinstance(outcome, AGAIN) and held[claim.id][1]
            recorded = CANCELLED if cancelled else outcome
            if isinstance(recorded, Succeeded) and recorded.result:
                with_results[claim.claim_seq][claim.id] = recorded.result
            else:
                alike[recorded, claim.claim_seq, recorded is TOO_LATE].append(claim)
        for (outcome, seq, late), claims in alike.items():
            rows = self._fenced(worker_id, seq, [claim.id for claim in claims])
            rows.update(**self._columns(outcome, late))
        for seq, results_by_id in with_results.items():
            for some in _by_size(results_by_id):
                self._succeed_with(worker_id, seq, some)

    def hold(self, worker_id: UUID, claim: Claim) -> bool:
        """Lock the claimed row until the open transaction ends.

        False when the claim was lost, or another transaction locks the row: `still_holds` tells.
        """
        return self._lock(worker_id, [claim]).get(claim.id, (None,))[0] == claim.claim_seq

    def still_holds(self, worker_id: UUID, claim: Claim) -> bool:
        """Whether the claim still holds, whether or not somebody locks its row."""
        return bool(self._still_held(worker_id, [claim]))

    def _lock(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, tuple[int, bool]]:
        """Lock the claimed rows that nobody else locks: their `claim_seq`, `cancel_requested`."""
        rows = self.skipping_locked(self._held_by(worker_id, claims).order_by("id"))
        return {i: (s, c) for i, s, c in rows.values_list("id", "claim_seq", "cancel_requested")}

    def _held_by(self, worker_id: UUID, claims: Sequence[Claim]) -> AttemptQuerySet[Any]:
        ids = [claim.id for claim in claims]
        return self.attempts.filter(pk__in=ids, status=Status.PENDING, claimed_by=worker_id)

    def _still_held(self, worker_id: UUID, claims: Sequence[Claim]) -> list[Claim]:
        seqs = dict(self._held_by(worker_id, claims).values_list("id", "claim_seq"))
        return [claim for claim in claims if seqs.get(claim.id) == claim.claim_seq]

    def _succeed(self, worker_id: UUID, results: Sequence[Result]) -> int:
        """Let those of these plain successes be recorded that are still held; returns how many."""
        succeeded = len(self._delete_succeeded(worker_id, [claim for claim, _ in results]))
        if succeeded == len(results):
            return succeeded
        with_dependents: list[UUID] = []
        for drops, claims in _alike(results):
            for seq, ids in _by_seq(claims):
                number, waited_for = self._succeed_alike(worker_id, seq, ids, drops)
                succeeded += number
                with_dependents += waited_for
        self.close_when_committed(with_dependents)
        return succeeded

    def _succeed_alike(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> tuple[int, Sequence[UUID]]:
        """`_succeed` for claims that have the same number; returns what others wait for, too.

        `drops`: whether what their targets returned is dropped; else they returned None.
        """
        number = self._succeed_in_place(worker_id, claim_seq, ids, drops)
        # An id as such takes a microsecond to make: only where somebody may wait.
        ids_as_such = [UUID(bytes=one) for one in ids] if self.anybody_waits() else []
        return number, self.with_dependents(ids_as_such)

    def _succeed_in_place(
        self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes], drops: bool
    ) -> int:
        rows = self._fenced(worker_id, claim_seq, self._unlocked(worker_id, claim_seq, ids))
        return rows.update(**self._columns(Succeeded(NOT_KEPT if drops else None), late=False))

    no_bytes = "''"

    def _setting_result(self, drops: bool) -> str:
        """The part of a statement that notes a result that is dropped."""
        return f", {self.quoted('sealed_result')} = {self.no_bytes}" if drops else ""

    def _unlocked(self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes]) -> list[UUID]:
        """Lock those of these claimed rows that nobody else locks; returns their ids."""
        rows = self._fenced(worker_id, claim_seq, [UUID(bytes=one) for one in ids]).order_by("id")
        return list(self.skipping_locked(rows).values_list("id", flat=True))

    def _succeed_with(self, worker_id: UUID, claim_seq: int, results: dict[UUID, bytes]) -> None:
        """Let those succeed, which are locked, each with its sealed result."""
        kept = [
            When(pk=pk, then=Value(result, output_field=BinaryField()))
            for pk, result in results.items()
        ]
        self._fenced(worker_id, claim_seq, list(results)).update(
            **ended(Status.SUCCEEDED, sealed_result=Case(*kept), num_crashes=0)
        )

    def _delete_succeeded(self, worker_id: UUID, claims: Sequence[Claim]) -> set[UUID]:
        """Delete those of `claims`, successes, whose queue keeps none; returns which.

        What others depend on, or a project's own rows refer to, is left to be updated, and pruned.
        """
        if not retention().deletes_successes or self.is_referred_to:
            return set()
        unkept = [claim for claim in claims if retention().deletes_success_in(claim.queue)]
        deleted = (self._delete_alike(worker_id, seq, ids) for seq, ids in _by_seq(unkept))
        return set(chain.from_iterable(deleted))

    def _delete_alike(self, worker_id: UUID, claim_seq: int, ids: Sequence[bytes]) -> list[UUID]:
        rows = self._fenced(worker_id, claim_seq, [UUID(bytes=one) for one in ids])
        held = self.lock_without_dependents(rows)
        if claim_seq > 1:
            # Nothing can have failed that was never claimed before.
            self.delete_failures(held)
        self.delete_dependencies(held)
        self.delete(held)
        return held

    def _fenced(self, worker_id: UUID, claim_seq: int, ids: Sequence[UUID]) -> AttemptQuerySet[Any]:
        """Those rows that are still held under the claim of this number."""
        return self.attempts.filter(
            pk__in=ids, claim_seq=claim_seq, claimed_by=worker_id, status=Status.PENDING
        )

    def _succeeded_of(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, int]:
        """Those that this worker let succeed, and under which claim."""
        ids = [claim.id for claim in claims]
        mine = self.attempts.filter(pk__in=ids, claimed_by=worker_id, status=Status.SUCCEEDED)
        succeeded = dict(mine.values_list("id", "claim_seq"))
        return succeeded | self._gone(worker_id, claims)

    def _gone(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, int]:
        """Those whose row is gone as a success leaves it, in a queue that keeps none.

        None of a worker that was rescued: what it held may have been another's success since.
        """
        if not retention().deletes_successes:
            return {}
        unkept = {c.id: c.claim_seq for c in claims if retention().deletes_success_in(c.queue)}
        me = self.workers.filter(pk=worker_id, state=Worker.State.LIVE)
        if not unkept or not me.exists():
            return {}
        there = set(self.attempts.filter(pk__in=unkept).values_list("pk", flat=True))
        return {pk: seq for pk, seq in unkept.items() if pk not in there}

    def _sorted_out(
        self, worker_id: UUID, results: Sequence[Result], left: Sequence[Claim]
    ) -> Unrecorded:
        """Sort the claims that a finish had to leave: lost, locked, or recorded before.

        First, without a lock, which of them still hold: what has ended since isn't locked but lost.
        """
        locked = self._still_held(worker_id, left)
        if len(locked) == len(left):
            return Unrecorded((), locked)
        held = {claim.id_bytes for claim in locked}
        gone = [claim for claim in left if claim.id_bytes not in held]
        return Unrecorded(self._unless_recorded(worker_id, results, gone), locked)

    def _unless_recorded(
        self, worker_id: UUID, results: Sequence[Result], lost: Sequence[Claim]
    ) -> list[Claim]:
        """`lost`, without what an earlier finish of the same outcome had recorded.

        Nobody but the holder of this claim could have let it succeed, or put it off.
        """
        outcomes = {claim.id_bytes: outcome for claim, outcome in results}
        succeeded = self._succeeded_of(worker_id, lost)
        put_off = self.attempts.filter(pk__in=[c.id for c in lost], status=Status.SCHEDULED)
        later = dict(put_off.values_list("id", "claim_seq"))
        recorded = {Succeeded: succeeded, Retried: later, Snoozed: later}
        return [
            claim
            for claim in lost
            if recorded.get(type(outcomes[claim.id_bytes]), {}).get(claim.id) != claim.claim_seq
        ]

    def _columns(self, outcome: Outcome, late: bool) -> dict[str, Any]:
        """The columns that record `outcome`."""
        match outcome:
            case Succeeded(result):
                noted = {} if result is None else {"sealed_result": result}
                return ended(Status.SUCCEEDED, num_crashes=0, **noted)
            case Failed(reason, error):
                return ended(
                    Status.FAILED, reason=reason, error_class=error.error_class, num_crashes=0
                )
            case Expired(reason):
                given_back = {"num_attempts": UNCOUNTED} if late else {}
                return ended(Status.EXPIRED, reason=reason, **given_back)
            case Retried(delay, error):
                return self._later(delay, error_class=error.error_class, num_crashes=0)
            case Snoozed(delay):
                return self._later(delay, num_attempts=UNCOUNTED, num_crashes=0)
            case Released(delay, reason):
                back = {"num_attempts": UNCOUNTED, "started_at": None}
                why = {"reason": reason} if reason else {}
                return self._later(delay, **back, **why) if delay else {"claimed_by": None, **back}

    def _later(self, delay: float, **columns: Any) -> dict[str, Any]:
        return {
            "status": Status.SCHEDULED,
            "claimed_by": None,
            "scheduled_at": seconds_from_now(delay),
            **columns,
        }

    def _failure(self, worker_id: UUID, claim: Claim, outcome: Retried | Failed) -> Failure:
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
