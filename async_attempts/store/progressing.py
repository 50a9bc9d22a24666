"""How far executions are: written while they go on, for those who watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Case, CharField, SmallIntegerField, Value, When

from ..lifecycle import Status
from ..models import AttemptQuerySet
from .claims import Claim
from .rows import Rows


class Said(NamedTuple):
    """What an execution said of itself."""

    claim: Claim
    percent: int
    note: str


class Progressing(Rows):
    """No move: running stays running."""

    def write_progress(self, said: Sequence[Said]) -> tuple[list[Said], list[Said]]:
        """Write what those said whose claim still holds.

        Returns what was written, and what is left as somebody else locks its row: the lock may be
        its own target's, and last as long as that.
        """
        written = self.whole(lambda: self.write_progress_within(said))
        there = {_fence(one.claim) for one in written}
        left = [one for one in said if _fence(one.claim) not in there]
        return written, self._held(left, self._running(left)) if left else []

    def try_to_write_progress(self, said: Sequence[Said]) -> tuple[list[Said], list[Said]]:
        """As `write_progress`, and leave all of it where that would wait for the one writer."""
        return self.write_progress(said)

    def write_progress_within(self, said: Sequence[Said]) -> list[Said]:
        """`write_progress`, as a part of the transaction that is open; returns what was written."""
        rows = self.skipping_locked(self._running(said).order_by("id"))
        if held := self._held(said, rows):
            self._note_progress(held)
        return held

    def _running(self, said: Sequence[Said]) -> AttemptQuerySet[Any]:
        return self.attempts.filter(
            pk__in=[one.claim.id for one in said],
            status=Status.PENDING,
            claimed_by__in={one.claim.worker_id for one in said},
        )

    def _held(self, said: Sequence[Said], rows: AttemptQuerySet[Any]) -> list[Said]:
        """What those said that are among `rows`, under the same claim."""
        held = set(rows.values_list("id", "claimed_by", "claim_seq"))
        return [one for one in said if _fence(one.claim) in held]

    def _note_progress(self, said: Sequence[Said]) -> None:
        """Write it to the rows, which are locked."""
        percents = [When(pk=one.claim.id, then=Value(one.percent)) for one in said]
        notes = [When(pk=one.claim.id, then=Value(one.note)) for one in said]
        rows = self.attempts.filter(pk__in=[one.claim.id for one in said], status=Status.PENDING)
        rows.update(
            progress=Case(*percents, output_field=SmallIntegerField()),
            progress_note=Case(*notes, output_field=CharField()),
        )


def _fence(claim: Claim) -> tuple[UUID, UUID, int]:
    return claim.id, claim.worker_id, claim.claim_seq
