"""Retention: expire what nobody claimed in time, and prune what isn't to be kept.

Ids are in the order of time, so a pruning walks the primary key from the newest attempt to the
oldest, counts what is kept by count, and needs no index of what has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import BooleanField, Case, CharField, ExpressionWrapper, F, Q, Value, When

from ..lifecycle import FINAL, LIVE, FailureKind, Status
from ..models import AttemptQuerySet, DatabaseNow, Dependency, Failure
from ..retention import FOR_EVER
from ..retention import Retention as Keeps
from .claimed import TOO_LATE
from .database import Database
from .dependencies import Dependencies
from .dialects.base import Dialect
from .ends import Ends
from .expressions import ended
from .transactions import refuse_callers_block

REFUSED: Final = Q(status=Status.FAILED, failure_kind=FailureKind.REFUSED)
"""A condition: it was refused, which is an answer, kept as long as a success."""


class Walk(NamedTuple):
    """The cursor of a walk: the oldest attempt that was seen.

    `kept`: the number of attempts of a queue and a status that the walk has left, where that is
    limited.
    """

    before: UUID | None = None
    kept: Mapping[tuple[str, str], int] = MappingProxyType({})


class Retention:
    """Expiry and pruning: from live to expired without a claim, and from ended to gone."""

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

    def expire_overdue(self, limit: int = 1000) -> list[UUID]:
        """Expire at most `limit` attempts past their `expires_at`; returns their ids.

        What is claimed, or locked by others, is left.
        """
        # An idle worker only looks: on SQLite it would keep others from writing.
        if not (ids := self._overdue_ids(limit)):
            return []

        def work() -> list[UUID]:
            overdue = self._overdue()
            locked = self.database.lock_free(overdue.filter(pk__in=ids))
            columns = ended(Status.EXPIRED, reason=TOO_LATE.reason, blockers=0)
            overdue.filter(pk__in=locked).update(**columns)
            self.ends.note(locked)
            self.dependencies.close_when_committed(self.dependencies.with_dependents(locked))
            return locked

        return self.database.in_transaction(work)

    def _overdue_ids(self, limit: int) -> list[UUID]:
        with self.dialect.by_index_over("expires_at"):
            return list(self._overdue().values_list("pk", flat=True)[:limit])

    def _overdue(self) -> AttemptQuerySet[Any]:
        # By the index of what has no `completed_at`.
        late = self.database.attempts.filter(completed_at=None, expires_at__lte=DatabaseNow())
        return late.filter(status__in=LIVE, claimed_by=None)

    def prune(
        self, retention: Keeps, *, limit: int = 1000, walk: Walk | None = None
    ) -> tuple[int, Walk | None]:
        """Look at the next `limit` attempts of a walk, and delete what isn't to be kept.

        What is locked by others, or waited for by dependents, is left. Returns how many were
        deleted and the walk as far as it has come; None when it has reached the end.
        """
        refuse_callers_block(self.database.alias)
        unwanted, moment, walk = self._look_on(retention, limit, walk or Walk())
        if not unwanted:
            return 0, walk

        def work() -> int:
            # One that was retried since the look, and has ended again, is left for the next time.
            rows = self.database.attempts.filter(
                pk__in=unwanted, status__in=FINAL, completed_at__lt=moment
            )
            locked = rows.order_by("pk").select_for_update(skip_locked=True)
            found = list(locked.values_list("pk", flat=True))
            needed = self.dependencies.still_needed(found)
            ids = [pk for pk in found if pk not in needed]
            self.dialect.delete(Failure, ids, "attempt_id")
            self.dialect.delete(Dependency, ids, "attempt_id")
            if self._is_referred_to:
                # By Django, which knows what is to follow each foreign key.
                self.database.attempts.filter(pk__in=ids).delete()
            else:
                self.dialect.delete(self.database.model, ids)
            return len(ids)

        return self.database.in_transaction(work), walk

    def count_unwanted(
        self, retention: Keeps, *, limit: int = 1000, walk: Walk | None = None
    ) -> tuple[int, Walk | None]:
        """Do as `prune`, but delete nothing; returns how many it would delete."""
        unwanted, _, walk = self._look_on(retention, limit, walk or Walk())
        return len(unwanted) - len(self.dependencies.still_needed(unwanted)), walk

    def _look_on(
        self, retention: Keeps, limit: int, walk: Walk
    ) -> tuple[list[UUID], datetime | None, Walk | None]:
        """Look at the next attempts of the walk.

        Returns those that aren't to be kept, the moment of the look, and the walk so far; None at
        the end.
        """
        rows = self.database.attempts.order_by("-pk")
        if walk.before is not None:
            rows = rows.filter(pk__lt=walk.before)
        is_old = ExpressionWrapper(_older_than(retention), output_field=BooleanField())
        succeeded = Value(str(Status.SUCCEEDED))
        kept_as = Case(When(REFUSED, then=succeeded), default=F("status"), output_field=CharField())
        columns = rows.values_list("pk", "queue", kept_as, is_old, DatabaseNow())
        seen = list(columns[:limit])
        kept = Counter(walk.kept)
        unwanted = [
            pk
            for pk, queue, status, is_old, _ in seen
            if is_old or _is_surplus(retention, queue, status, kept)
        ]
        moment = seen[0][-1] if seen else None
        return unwanted, moment, None if len(seen) < limit else Walk(seen[-1][0], kept)

    @cached_property
    def _is_referred_to(self) -> bool:
        """True if a project's own models have foreign keys to attempts."""
        related = {one.related_model for one in self.database.model._meta.related_objects}
        return bool(related - {Failure, Dependency})


def _older_than(retention: Keeps) -> Q:
    """Return a condition: ended longer ago than it is to be kept."""
    old = Q(Value(False))
    for queue, status, keep in retention.each():
        if keep.age is not None and status in FINAL:
            age = timedelta(seconds=keep.age)
            which = _kept_as(status) & Q(completed_at__lt=DatabaseNow() - age)
            if queue is not None:
                which &= Q(queue=queue)
            elif retention.by_queue:
                which &= ~Q(queue__in=list(retention.by_queue))
            old |= which
    return old


def _kept_as(status: str) -> Q:
    """Return a condition: the rule for this status holds for it."""
    if status == Status.SUCCEEDED:
        return Q(status=status) | REFUSED
    return Q(status=status) & ~REFUSED if status == Status.FAILED else Q(status=status)


def _is_surplus(retention: Keeps, queue: str, status: str, kept: Counter[tuple[str, str]]) -> bool:
    """True if the queue has enough newer ones of this status; else counts it into `kept`."""
    count = retention.of(queue).get(status, FOR_EVER).count
    if count is None or status not in FINAL:
        return False
    if kept[queue, status] >= count:
        return True
    kept[queue, status] += 1
    return False
