"""What waits for what, once more: a retry opens what has expired because of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from uuid import UUID

from ..lifecycle import Status
from .depending import MET, OPEN, UNMET, Depending
from .dooming import by_value


class Reopening(Depending):
    """From expired to waiting."""

    def reopen(self, ids: Collection[UUID]) -> None:
        """What these were retried for: they wait anew, and who expired because of them does, too.

        In the transaction of the retry.
        """
        flagged = self.dependencies.filter(attempt_id__in=ids, has_expired_it=True)
        flagged.update(has_expired_it=False)
        self._try_anew(ids)
        self._wait_anew(ids)
        retried = list(ids)
        while retried:
            unmet = self.dependencies.filter(prerequisite_id__in=retried, state=UNMET)
            touched = list(unmet.values_list("attempt_id", flat=True))
            # Who closes an edge locks its dependent first: from here on none of theirs changes.
            dependents = self.attempts.filter(pk__in=touched).order_by("id").select_for_update()
            list(dependents.values_list("pk", flat=True))
            unmet.update(state=OPEN, cause=None)
            still = self.dependencies.filter(attempt_id__in=touched, state=UNMET)
            hopeless = set(still.values_list("attempt_id", flat=True))
            mine = self.dependencies.filter(attempt_id__in=touched, has_expired_it=True)
            back = [pk for pk in mine.values_list("attempt_id", flat=True) if pk not in hopeless]
            mine.filter(attempt_id__in=back).update(has_expired_it=False)
            rows = self.attempts.filter(pk__in=back, status=Status.EXPIRED).order_by("id")
            retried = list(rows.select_for_update().values_list("pk", flat=True))
            self.attempts.filter(pk__in=retried, status=Status.EXPIRED).update(
                status=Status.PENDING, completed_at=None, reason="", claimed_by=None
            )
            self._wait_anew(retried)

    def _try_anew(self, ids: Collection[UUID]) -> None:
        """Open what can never be met, so that who was retried in vain is expired once more."""
        edges = self.dependencies.filter(attempt_id__in=ids, state=UNMET)
        pairs = dict(edges.values_list("pk", "prerequisite_id"))
        mendable = self.attempts.filter(pk__in=set(pairs.values()))
        mendable = mendable.exclude(status=Status.SUCCEEDED)
        hope = set(mendable.values_list("pk", flat=True))
        never = {key: pk for key, pk in pairs.items() if pk not in hope}
        self.dependencies.filter(pk__in=list(never)).update(state=OPEN, cause=None)
        self.close_when_committed(set(never.values()))

    def _wait_anew(self, ids: Collection[UUID]) -> None:
        """Let those of these pending or scheduled attempts wait that have unmet edges."""
        edges = self.dependencies.filter(attempt_id__in=ids).exclude(state=MET)
        # Locked, since the snapshot of a REPEATABLE READ caller may be an old one.
        counts = Counter(edges.select_for_update().values_list("attempt_id", flat=True))
        for count, attempts in by_value(counts).items():
            live = (Status.PENDING, Status.SCHEDULED)
            mine = self.attempts.filter(pk__in=attempts, status__in=live, claimed_by=None)
            mine.update(status=Status.WAITING, blockers=count)
