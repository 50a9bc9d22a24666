"""Delete what ended long enough ago, or is one too many, walking the primary key.

That is in the order of time, so the walk goes from the newest attempt to the oldest, counts what
is kept by count, and needs no index of what has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import BooleanField, ExpressionWrapper, Q, Value

from ..lifecycle import FINAL
from ..models import DatabaseNow
from ..retention import FOR_EVER, Retention
from .deleting import Deleting
from .transactions import refuse_callers_block


class Walk(NamedTuple):
    """How far a walk has come: the oldest attempt that was seen.

    `kept`: how many of a queue and a status the walk has left, where that is limited.
    """

    before: UUID | None = None
    kept: Mapping[tuple[str, str], int] = MappingProxyType({})


START: Final = Walk()


class Look(NamedTuple):
    """What a step of a walk has found: what isn't to be kept, when, and the walk as far as it is.

    `walk`: None at the end.
    """

    unwanted: list[UUID]
    moment: datetime | None
    walk: Walk | None


class Pruning(Deleting):
    """Away with what nobody will ask for."""

    def prune(
        self, retention: Retention, *, limit: int = 1000, walk: Walk | None = None
    ) -> tuple[int, Walk | None]:
        """Look at the next `limit` attempts of a walk, and delete what isn't to be kept.

        What is locked by others, or waited for by dependents, is left. Returns how many were
        deleted and the walk as far as it has come; None when it has reached the end.
        """
        refuse_callers_block(self.alias)
        unwanted, moment, walk = self._look_on(retention, limit, walk or START)
        if not unwanted:
            return 0, walk

        def work() -> int:
            # What was retried since the look, and has ended again, is looked at the next time.
            rows = self.attempts.filter(pk__in=unwanted, status__in=FINAL, completed_at__lt=moment)
            locked = rows.order_by("pk").select_for_update(skip_locked=True)
            found = list(locked.values_list("pk", flat=True))
            needed = self.waited_for(found)
            ids = [pk for pk in found if pk not in needed]
            self.delete_failures(ids)
            self.delete_dependencies(ids)
            if self.is_referred_to:
                # By Django, which knows what is to follow each foreign key.
                self.attempts.filter(pk__in=ids).delete()
            else:
                self.delete(ids)
            return len(ids)

        return self.whole(work), walk

    def count_unwanted(
        self, retention: Retention, *, limit: int = 1000, walk: Walk | None = None
    ) -> tuple[int, Walk | None]:
        """As `prune`, and deletes nothing: returns how many it would delete."""
        unwanted, _, walk = self._look_on(retention, limit, walk or START)
        return len(unwanted) - len(self.waited_for(unwanted)), walk

    def _look_on(self, retention: Retention, limit: int, walk: Walk) -> Look:
        """Look at the next attempts of the walk."""
        rows = self.attempts.order_by("-pk")
        if walk.before is not None:
            rows = rows.filter(pk__lt=walk.before)
        is_old = ExpressionWrapper(_older_than(retention), output_field=BooleanField())
        columns = rows.values_list("pk", "queue", "status", is_old, DatabaseNow())
        seen = list(columns[:limit])
        kept = Counter(walk.kept)
        unwanted = [
            pk
            for pk, queue, status, is_old, _ in seen
            if is_old or _is_surplus(retention, queue, status, kept)
        ]
        moment = seen[0][-1] if seen else None
        return Look(unwanted, moment, None if len(seen) < limit else Walk(seen[-1][0], kept))


def _older_than(retention: Retention) -> Q:
    """What ended longer ago than it is to be kept."""
    old = Q(Value(False))
    for queue, status, keep in retention.each():
        if keep.age is not None and status in FINAL:
            age = timedelta(seconds=keep.age)
            which = Q(status=status, completed_at__lt=DatabaseNow() - age)
            if queue is not None:
                which &= Q(queue=queue)
            elif retention.by_queue:
                which &= ~Q(queue__in=list(retention.by_queue))
            old |= which
    return old


def _is_surplus(
    retention: Retention, queue: str, status: str, kept: Counter[tuple[str, str]]
) -> bool:
    """True if the queue has enough newer ones of this status; else counts it into `kept`."""
    count = retention.of(queue).get(status, FOR_EVER).count
    if count is None or status not in FINAL:
        return False
    if kept[queue, status] >= count:
        return True
    kept[queue, status] += 1
    return False
