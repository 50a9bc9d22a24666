"""Progress of executions, written while they run, for callers that watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from ..lifecycle import Status
from ..models import AttemptQuerySet
from .claimed import Claim
from .database import Database
from .dialects.base import Dialect


class ProgressReport(NamedTuple):
    """The progress of one execution: a percentage from 0 to 100, and a note."""

    claim: Claim
    percent: int
    note: str


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


def _fence(claim: Claim) -> tuple[UUID, UUID, int]:
    return claim.id, claim.worker_id, claim.claim_seq
