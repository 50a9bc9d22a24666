"""What waits for what: closed when prerequisites end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Q, Value, When

from ..lifecycle import FINAL, Status
from ..models import Condition, DatabaseNow, Dependency
from ..models.dependency import ENDINGS
from .dooming import Dooming, as_uuid, by_value
from .revisits import What

_One = TypeVar("_One")

BATCH: Final = 1000
OPEN, MET, UNMET = Dependency.State.OPEN, Dependency.State.MET, Dependency.State.UNMET


ANY_OPEN: Final = "SELECT 1 FROM {dependency} WHERE state = 'open' LIMIT 1"

LEFT: Final = """
SELECT d.prerequisite_id FROM {dependency} d LEFT JOIN {attempt} p ON p.id = d.prerequisite_id
WHERE d.state = 'open' AND (p.id IS NULL OR p.status IN ('succeeded', 'failed', 'expired'))
ORDER BY d.id LIMIT {batch}
"""
"""Open edges to what has ended, or is gone. An EXISTS would have MariaDB read all attempts."""


class Ending(NamedTuple):
    """How a prerequisite ended; None: it is gone. `cause`: which one ended so first, maybe it."""

    status: str | None
    cause: UUID


class Closed(NamedTuple):
    """An edge whose prerequisite has ended. `cause`: what failed or expired first, if it did."""

    id: int
    attempt_id: UUID
    is_met: bool
    cause: UUID | None


class Batch(NamedTuple):
    """What became of a batch of edges.

    `expired`: what was expired that others wait for. `passed`: prerequisites of edges that others
    lock. `last`: the edge to go on after, if there may be more.
    """

    closed: int
    expired: list[UUID]
    passed: set[UUID]
    last: int | None


class Depending(Dooming):
    """From waiting to pending or scheduled, or to expired."""

    times_closed = 0
    """Whoever sees it grow knows that something may have become due in this process's doing."""

    def close(self, ids: Iterable[UUID]) -> int:
        """Close the open edges to those of these attempts that have ended; returns how many.

        What waits for nothing any more may begin. What can never begin is expired, and so is what
        waits for that. Each transaction closes at most BATCH edges, or those of a deep chain. What
        others lock is come back to; never is a lock waited for.
        """
        closed = 0

        def work(some: Iterable[UUID]) -> set[UUID]:
            nonlocal closed
            number, passed = self._close_all(some)
            closed += number
            return passed

        self.revisits.insist(What.EDGES, ids, work)
        self.times_closed += closed > 0
        return closed

    def _close_all(self, ids: Iterable[UUID]) -> tuple[int, set[UUID]]:
        """Returns how many were closed, and the prerequisites of those that were passed over."""
        closed = 0
        passed: set[UUID] = set()
        waiting = list(ids)
        while waiting:
            some, waiting = waiting[:BATCH], waiting[BATCH:]
            last: int | None = 0
            while last is not None:
                batch = self.whole(partial(self._close, some, last))
                closed += batch.closed
                passed |= batch.passed
                last, expired = batch.last, batch.expired
                while expired:
                    waiting += expired
                    expired = self.whole(partial(self.doom, expired))
        return closed, passed

    def sweep(self) -> int:
        """Close what nobody came to close, as a process ended between two commits; how many."""
        with self.connection.cursor() as cursor:
            cursor.execute(self._left_sql)
            left = {as_uuid(key) for (key,) in cursor.fetchall()}
        return self.close(left) if left else 0

    def _close(self, ids: Sequence[UUID], after: int) -> Batch:
        """Close the next edges to those of these attempts that have ended."""
        endings, passed = self._endings(ids)
        mine = self.dependencies.filter(
            prerequisite_id__in=list(endings), state=OPEN, pk__gt=after
        ).order_by("id")
        edges = list(mine[:BATCH])
        # An edge changes only while its dependent is locked.
        dependents = self.lock_dependents({edge.attempt_id for edge in edges})
        still_open = self.lock_open(
            [edge.pk for edge in edges if edge.attempt_id in dependents] if dependents else []
        )
        passed |= {edge.prerequisite_id for edge in edges if edge.pk not in still_open}
        closed = [
            _judged(edge, endings[edge.prerequisite_id]) for edge in edges if edge.pk in still_open
        ]
        waiting = {
            pk: row for pk, row in dependents.items() if row and row.status == Status.WAITING
        }
        unmet = {edge.attempt_id: edge.cause for edge in closed if not edge.is_met}
        expired = {pk: unmet[pk] for pk in waiting if pk in unmet}
        self.expire_doomed(expired)
        self._judge(closed, expired)
        counts = Counter(e.attempt_id for e in closed if e.is_met and e.attempt_id not in expired)
        self._lower({pk: row.blockers - counts[pk] for pk, row in waiting.items() if counts[pk]})
        return Batch(
            len(closed),
            [pk for pk in expired if waiting[pk].has_dependents],
            passed,
            edges[-1].pk if len(edges) == BATCH else None,
        )

    def _endings(self, ids: Sequence[UUID]) -> tuple[dict[UUID, Ending], set[UUID]]:
        """How those that have ended did, and which of them others lock.

        Locks them: the edges to one that is retried meanwhile are opened again, not closed.
        """
        rows = self.attempts.filter(pk__in=ids)
        # Looked at first: what runs atomically is locked for as long as that takes.
        there = dict(rows.values_list("pk", "status"))
        over = [pk for pk, status in there.items() if status in FINAL]
        locked = self.attempts.filter(pk__in=over, status__in=FINAL).order_by("id")
        ended = dict(self.skipping_locked(locked).values_list("pk", "status"))
        through = self.dependencies.filter(attempt_id__in=over, has_expired_it=True, state=UNMET)
        causes = dict(through.values_list("attempt_id", "cause"))
        endings = {pk: Ending(status, causes.get(pk) or pk) for pk, status in ended.items()}
        gone = {pk: Ending(None, pk) for pk in ids if pk not in there}
        return endings | gone, set(over) - ended.keys()

    def _judge(self, closed: Sequence[Closed], expired: Collection[UUID]) -> None:
        """Note what became of these edges."""
        verdicts = {
            edge.id: (edge.is_met, edge.cause, edge.attempt_id in expired) for edge in closed
        }
        for (is_met, cause, has_expired), edges in by_value(verdicts).items():
            # What expired because of another edge has that from then: it is never taken back here.
            noted = {"has_expired_it": True} if has_expired and not is_met else {}
            judged = self.dependencies.filter(pk__in=edges)
            judged.update(state=MET if is_met else UNMET, cause=cause, **noted)

    def _lower(self, left: Mapping[UUID, int]) -> None:
        """These attempts, which are locked, wait for so many others now."""
        for blockers, attempts in by_value(left).items():
            mine = self.attempts.filter(pk__in=attempts, status=Status.WAITING)
            if blockers > 0:
                mine.update(blockers=blockers)
            else:
                mine.update(status=_when_free(), blockers=0)
                self.pass_gate()

    def close_when_committed(self, ids: Collection[UUID]) -> None:
        """Close the edges to those of these attempts that have dependents, after the commit."""
        if ids:

            def later() -> None:
                self.close(ids)

            transaction.on_commit(later, self.alias, robust=True)

    def anybody_waits(self) -> bool:
        """Whether there is any open edge; each batch of successes asks this on most databases."""
        with self.connection.cursor() as cursor:
            cursor.execute(self._any_open_sql)
            return cursor.fetchone() is not None

    @cached_property
    def _any_open_sql(self) -> str:
        return ANY_OPEN.format(**self.words)

    @cached_property
    def _left_sql(self) -> str:
        return LEFT.format(**self.words, **self.names, batch=BATCH)

    def waited_for(self, ids: Collection[UUID]) -> set[UUID]:
        """Those of these attempts on which others depend that stay and haven't succeeded.

        One that has failed or expired can be retried, and its prerequisites have to be there then.
        Those of `ids` that nothing depends on don't stay.
        """
        edges = self.dependencies.filter(prerequisite_id__in=ids)
        pairs = list(edges.values_list("prerequisite_id", "attempt_id"))
        dependents = self.attempts.filter(pk__in={dependent for _, dependent in pairs})
        left = set(dependents.exclude(status=Status.SUCCEEDED).values_list("pk", flat=True))
        stay, needed = left.difference(ids), set[UUID]()
        while stay:
            found = {prerequisite for prerequisite, dependent in pairs if dependent in stay}
            # Those found before aren't looked at again: edges that were edited may form a circle.
            stay = (found & left) - needed
            needed |= found
        return needed

    def with_dependents(self, ids: Collection[UUID]) -> list[UUID]:
        """Those of these attempts that others may wait for."""
        if not ids or not self.anybody_waits():
            return []
        mine = self.attempts.filter(pk__in=ids, has_dependents=True)
        return list(mine.values_list("pk", flat=True))


def _judged(edge: Dependency, ending: Ending) -> Closed:
    condition, (status, cause) = edge.condition, ending
    is_met = condition == Condition.ANY or status in ENDINGS[Condition(condition)]
    return Closed(edge.pk, edge.attempt_id, is_met, None if status == Status.SUCCEEDED else cause)


def _when_free() -> Any:
    later = Q(scheduled_at__gt=DatabaseNow())
    return Case(When(later, then=Value(Status.SCHEDULED)), default=Value(Status.PENDING))


def in_batches(ids: Iterable[_One]) -> Iterator[list[_One]]:
    """`ids`, as many at a time as one statement takes everywhere."""
    walk = iter(ids)
    while some := list(islice(walk, BATCH)):
        yield some
