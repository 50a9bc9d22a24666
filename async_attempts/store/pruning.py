"""Delete what ended long enough ago, or is one too many, walking the primary key.

That is in the order of time, so the walk goes from the newest attempt to the oldest, counts what
is kept by count, and needs no index of what has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, NamedTuple
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
        old, surplus, walk = self._look_on(retention, limit, walk or START)
        if not old and not any(surplus.values()):
            return 0, walk
        unwanted = Q(_older_than(retention), pk__in=old)
        for status, ids in surplus.items():
            unwanted |= Q(status=status, pk__in=ids)

        def work() -> int:
            rows = self.attempts.filter(unwanted, status__in=FINAL)
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
        old, surplus, walk = self._look_on(retention, limit, walk or START)
        unwanted = [*old, *chain.from_iterable(surplus.values())]
        return len(unwanted) - len(self.waited_for(unwanted)), walk

    def _look_on(
        self, retention: Retention, limit: int, walk: Walk
    ) -> tuple[list[UUID], dict[str, list[UUID]], Walk | None]:
        """Of the next attempts: those that are too old, and by status those that are too many."""
        rows = self.attempts.order_by("-pk")
        if walk.before is not None:
            rows = rows.filter(pk__lt=walk.before)
        is_old = ExpressionWrapper(_older_than(retention), output_field=BooleanField())
        seen = list(rows.values_list("pk", "queue", "status", is_old)[:limit])
        old = [pk for pk, *_, is_old in seen if is_old]
        kept = Counter(walk.kept)
        young = [row[:3] for row in seen if not row[3]] if retention.counts else []
        surplus = _surplus(retention, young, kept)
        is_through = len(seen) < limit
        return old, surplus, None if is_through else Walk(seen[-1][0], kept)


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


def _surplus(
    retention: Retention, young: Sequence[Sequence[Any]], kept: Counter[tuple[str, str]]
) -> dict[str, list[UUID]]:
    """Those of `young` that are too many, by status; counts the others into `kept`."""
    surplus: dict[str, list[UUID]] = {status: [] for status in FINAL}
    for pk, queue, status in young:
        count = retention.of(queue).get(status, FOR_EVER).count
        if count is None or status not in FINAL:
            continue
        if kept[queue, status] < count:
            kept[queue, status] += 1
        else:
            surplus[status].append(pk)
    return surplus
