"""Record what executions came to: in batches, fenced, rows locked in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from django.db.models import F

from ..lifecycle import Expired, Failed, Outcome, Released, Retried, Snoozed, Status, Succeeded
from ..models import AttemptQuerySet, DatabaseNow, Failure
from .claims import Claim
from .rows import Rows, ended, seconds_from_now

Result = tuple[Claim, Outcome]
AGAIN: Final = (Retried, Snoozed, Released)
FAILURES_IN_A_STATEMENT: Final = 20
"""The longest of them fit the 16 MiB that MariaDB takes at once."""

CANCELLED: Final = Expired("cancelled while it ran")


class Finishing(Rows):
    """From running to what came of it."""

    def finish(self, worker_id: UUID, results: Sequence[Result]) -> list[Claim]:
        """Record `results`, all or none; returns the claims that had been lost and were left alone.

        A claim is lost when it was rescued, or when a person expired or failed the attempt.
        """

        def work() -> list[Claim]:
            return self.finish_within(worker_id, results)

        return self.whole(work) if results else []

    def finish_within(self, worker_id: UUID, results: Sequence[Result]) -> list[Claim]:
        """`finish`, as a part of the transaction that is open: an atomic attempt's own."""
        held = self._lock(worker_id, [claim for claim, _ in results])
        current = [(c, o) for c, o in results if held.get(c.id, (None,))[0] == c.claim_seq]
        plain = [c for c, outcome in current if outcome == Succeeded()]
        self._succeed(worker_id, plain)
        failures = []
        for claim, outcome in current:
            if outcome == Succeeded():
                continue
            cancelled = isinstance(outcome, AGAIN) and held[claim.id][1]
            self._record(worker_id, claim, CANCELLED if cancelled else outcome)
            if isinstance(outcome, Retried | Failed):
                failures.append(self._failure(worker_id, claim, outcome))
        self.failures.bulk_create(failures, FAILURES_IN_A_STATEMENT)
        kept = {claim.id for claim, _ in current}
        return [claim for claim, _ in results if claim.id not in kept]

    def hold(self, worker_id: UUID, claim: Claim) -> bool:
        """Lock the claimed row until the open transaction ends; False when the claim was lost."""
        return self._lock(worker_id, [claim]).get(claim.id, (None,))[0] == claim.claim_seq

    def _lock(self, worker_id: UUID, claims: Sequence[Claim]) -> dict[UUID, tuple[int, bool]]:
        mine = self.attempts.filter(pk__in=[claim.id for claim in claims])
        mine = mine.filter(status=Status.PENDING, claimed_by=worker_id)
        rows = mine.order_by("id").select_for_update()
        return {i: (s, c) for i, s, c in rows.values_list("id", "claim_seq", "cancel_requested")}

    def _fenced(self, worker_id: UUID, claims: Sequence[Claim]) -> Iterator[AttemptQuerySet[Any]]:
        """The rows of `claims` that are still held under them, a queryset for each `claim_seq`."""
        by_seq = attrgetter("claim_seq")
        for seq, group in groupby(sorted(claims, key=by_seq), key=by_seq):
            yield self.attempts.filter(
                pk__in=[claim.id for claim in group],
                claim_seq=seq,
                claimed_by=worker_id,
                status=Status.PENDING,
            )

    def _succeed(self, worker_id: UUID, claims: Sequence[Claim]) -> None:
        for rows in self._fenced(worker_id, claims):
            rows.update(status=Status.SUCCEEDED, completed_at=DatabaseNow(), num_crashes=0)

    def _record(self, worker_id: UUID, claim: Claim, outcome: Outcome) -> None:
        for row in self._fenced(worker_id, [claim]):
            row.update(**self._columns(claim, outcome))

    def _columns(self, claim: Claim, outcome: Outcome) -> dict[str, Any]:
        """The columns that record `outcome`."""
        match outcome:
            case Succeeded(result):
                return ended(Status.SUCCEEDED, sealed_result=result, num_crashes=0)
            case Failed(reason, error):
                return ended(
                    Status.FAILED, reason=reason, error_class=error.error_class, num_crashes=0
                )
            case Expired(reason):
                given_back = {"num_attempts": F("num_attempts") - 1} if claim.late else {}
                return ended(Status.EXPIRED, reason=reason, **given_back)
            case Retried(delay, error):
                return self._later(delay, error_class=error.error_class, num_crashes=0)
            case Snoozed(delay):
                return self._later(delay, num_attempts=F("num_attempts") - 1, num_crashes=0)
            case Released(delay):
                back = {"num_attempts": F("num_attempts") - 1, "started_at": None}
                return self._later(delay, **back) if delay else {"claimed_by": None, **back}

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
