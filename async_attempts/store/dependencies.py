"""Dependencies: closed when prerequisites end, expired if they can't be met, opened by a retry.

An edge changes only while its dependent is locked. No lock is ever waited for: what others lock is
come back to.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from django.db import transaction
from django.db.models import F

from ..batches import STATEMENT_KEYS as BATCH
from ..lifecycle import FINAL, Status
from ..models import Condition, Dependency
from ..models.dependency import ENDINGS
from .database import Database, as_uuid, placeholders
from .ends import Ends
from .expressions import ended, status_when_due
from .revisits import What

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

OPEN, MET, UNMET = Dependency.State.OPEN, Dependency.State.MET, Dependency.State.UNMET

DEEPEST: Final = 500
"""Links of a chain in one statement: MySQL refuses more than 1,000."""

ANY_OPEN: Final = "SELECT 1 FROM {dependency} WHERE state = 'open' LIMIT 1"

LEFT_OPEN: Final = """
SELECT d.prerequisite_id FROM {dependency} d LEFT JOIN {attempt} p ON p.id = d.prerequisite_id
WHERE d.state = 'open' AND (p.id IS NULL OR p.status IN ('succeeded', 'failed', 'expired'))
ORDER BY d.id LIMIT {batch}
"""
"""Open edges to what has ended, or is gone. An EXISTS would have MariaDB read all attempts."""

UNREACHABLE: Final = """
WITH RECURSIVE unreachable (id, cause, depth) AS (
    SELECT attempt_id, cause, 1 FROM {dependency}
    WHERE has_expired_it AND attempt_id IN ({ids})
    UNION
    SELECT d.attempt_id, unreachable.cause, unreachable.depth + 1
    FROM {dependency} d JOIN unreachable ON d.prerequisite_id = unreachable.id
    WHERE d.state = 'open' AND d.{condition} = 'success' AND unreachable.depth < {deepest}
)
SELECT d.id, d.prerequisite_id, d.attempt_id, unreachable.cause
FROM {dependency} d JOIN unreachable ON d.prerequisite_id = unreachable.id
WHERE d.state = 'open' AND d.{condition} = 'success' ORDER BY unreachable.depth
"""
"""The edges to what waits for an expired attempt's success, to what waits for that one's, …"""


class Ending(NamedTuple):
    """The end of a prerequisite; None: it is gone. `cause`: the one that ended so first."""

    status: str | None
    cause: UUID


class Closed(NamedTuple):
    """An edge whose prerequisite has ended. `cause`: what failed or expired first, if it did."""

    id: int
    attempt_id: UUID
    is_met: bool
    cause: UUID | None


class Batch(NamedTuple):
    """The outcome of closing a batch of edges.

    `expired`: attempts that were expired and have dependents. `passed`: prerequisites of edges that
    others lock. `last`: the edge to go on after, if there may be more.
    """

    closed: int
    expired: list[UUID]
    passed: set[UUID]
    last: int | None


class Dependencies:
    """The edges between attempts of one database."""

    times_closed = 0
    """It grows whenever this process has closed edges, and so may have made something due."""

    def __init__(self, database: Database, ends: Ends) -> None:
        self.database = database
        self.ends = ends

    # --- closing

    def close(self, ids: Iterable[UUID]) -> int:
        """Close the open edges to those of these attempts that have ended; returns their number.

        An attempt whose prerequisites have all ended as wanted becomes due. One that can never
        begin is expired, and so are those that wait for it. Each transaction closes at most BATCH
        edges, or those of a deep chain.
        """
        closed = 0

        def work(some: Iterable[UUID]) -> set[UUID]:
            nonlocal closed
            number, passed = self._close_all(some)
            closed += number
            return passed

        self.database.revisits.insist(What.EDGES, ids, work)
        self.times_closed += closed > 0
        return closed

    def close_when_committed(self, ids: Collection[UUID]) -> None:
        """Close the edges to those of these attempts that have dependents, after the commit."""
        if ids:

            def later() -> None:
                self.close(ids)

            transaction.on_commit(later, self.database.alias, robust=True)

    def sweep(self) -> int:
        """Close the edges that were left open as a process ended between two commits.

        Returns their number.
        """
        sql = LEFT_OPEN.format(**self.database.names, batch=BATCH)
        return self.close({as_uuid(key) for (key,) in self.database.fetch(sql)})

    def _close_all(self, ids: Iterable[UUID]) -> tuple[int, set[UUID]]:
        """Close; return the number of edges closed, and the prerequisites of those passed over."""
        closed = 0
        passed: set[UUID] = set()
        waiting = list(ids)
        while waiting:
            some, waiting = waiting[:BATCH], waiting[BATCH:]
            last: int | None = 0
            while last is not None:
                batch = self.database.in_transaction(partial(self._close, some, last))
                closed += batch.closed
                passed |= batch.passed
                last, expired = batch.last, batch.expired
                while expired:
                    waiting += expired
                    unreachable = partial(self._expire_unreachable, expired)
                    expired = self.database.in_transaction(unreachable)
        return closed, passed

    def _close(self, ids: Sequence[UUID], after: int) -> Batch:
        """Close the next edges to those of these attempts that have ended."""
        endings, passed = self._endings(ids)
        mine = self.database.dependencies.filter(
            prerequisite_id__in=list(endings), state=OPEN, pk__gt=after
        ).order_by("id")
        edges = list(mine[:BATCH])
        dependents = self._lock_dependents({edge.attempt_id for edge in edges})
        still_open = self._lock_open([e.pk for e in edges if e.attempt_id in dependents])
        passed |= {edge.prerequisite_id for edge in edges if edge.pk not in still_open}
        closed = [
            _judged(edge, endings[edge.prerequisite_id]) for edge in edges if edge.pk in still_open
        ]
        waiting = {
            pk: row for pk, row in dependents.items() if row and row.status == Status.WAITING
        }
        unmet = {edge.attempt_id: edge.cause for edge in closed if not edge.is_met}
        expired = {pk: unmet[pk] for pk in waiting if pk in unmet}
        self._expire(expired)
        self._judge(
            {
                edge.id: (edge.is_met, edge.cause, not edge.is_met and edge.attempt_id in expired)
                for edge in closed
            }
        )
        counts = Counter(e.attempt_id for e in closed if e.is_met and e.attempt_id not in expired)
        self._lower({pk: row.blockers - counts[pk] for pk, row in waiting.items() if counts[pk]})
        return Batch(
            len(closed),
            [pk for pk in expired if waiting[pk].has_dependents],
            passed,
            edges[-1].pk if len(edges) == BATCH else None,
        )

    def _endings(self, ids: Sequence[UUID]) -> tuple[dict[UUID, Ending], set[UUID]]:
        """Return the endings of the ones that have ended, and the ids of those that others lock.

        Locks them: the edges to one that is retried meanwhile are opened again, not closed.
        """
        rows = self.database.attempts.filter(pk__in=ids)
        # Read without locks first: an attempt that runs atomically is locked until it ends.
        there = dict(rows.values_list("pk", "status"))
        over = [pk for pk, status in there.items() if status in FINAL]
        locked = self.database.attempts.filter(pk__in=over, status__in=FINAL).order_by("id")
        ended = dict(self.database.skipping_locked(locked).values_list("pk", "status"))
        through = self.database.dependencies.filter(
            attempt_id__in=over, has_expired_it=True, state=UNMET
        )
        causes = dict(through.values_list("attempt_id", "cause"))
        endings = {pk: Ending(status, causes.get(pk) or pk) for pk, status in ended.items()}
        gone = {pk: Ending(None, pk) for pk in ids if pk not in there}
        return endings | gone, set(over) - ended.keys()

    def _judge(self, verdicts: Mapping[int, tuple[bool, UUID | None, bool]]) -> None:
        """Note that these edges are closed: if each is met, its cause, if it expired its dependent.

        An attempt that another edge has expired keeps that mark: it is never taken back here.
        """
        for (is_met, cause, has_expired), edges in _by_value(verdicts).items():
            noted = {"has_expired_it": True} if has_expired else {}
            judged = self.database.dependencies.filter(pk__in=edges)
            judged.update(state=MET if is_met else UNMET, cause=cause, **noted)

    def _lower(self, left: Mapping[UUID, int]) -> None:
        """Write the number of blockers that these attempts, which are locked, have left."""
        for blockers, attempts in _by_value(left).items():
            mine = self.database.attempts.filter(pk__in=attempts, status=Status.WAITING)
            if blockers > 0:
                mine.update(blockers=blockers)
            else:
                due = status_when_due(F("scheduled_at"))
                mine.update(status=due, blockers=0)
                self.database.notify_due()

    def _lock_dependents(self, ids: Collection[UUID]) -> dict[UUID, Any]:
        """Lock these attempts, and return `status`, `blockers`, `has_dependents` of each.

        None for what is gone. One that others lock is left out: it may be about to wait.
        """
        attempts = self.database.attempts
        locked = self.database.skipping_locked(attempts.filter(pk__in=ids).order_by("id"))
        columns = ("pk", "status", "blockers", "has_dependents")
        found: dict[UUID, Any] = {row.pk: row for row in locked.values_list(*columns, named=True)}
        if missing := set(ids) - found.keys():
            there = attempts.filter(pk__in=missing).values_list("pk", flat=True)
            found |= dict.fromkeys(missing.difference(there))
        return found

    def _lock_open(self, edges: Collection[int]) -> set[int]:
        """Return those of these edges that are open, and stay so as their dependents are locked."""
        still = self.database.dependencies.filter(pk__in=edges, state=OPEN)
        return set(self.database.lock_free(still))

    # --- expiring

    def _expire(self, causes: Mapping[UUID, UUID | None]) -> None:
        """Expire these attempts, which are locked and wait, and say what has caused it."""
        for cause, attempts in _by_value(causes).items():
            waiting = self.database.attempts.filter(pk__in=attempts, status=Status.WAITING)
            waiting.update(**ended(Status.EXPIRED, reason=_reason(cause), blockers=0))
            self.ends.note(attempts)

    def _expire_unreachable(self, ids: Sequence[UUID]) -> list[UUID]:
        """Expire what can't begin as these have expired; returns those of it that have dependents.

        To be closed after that, as `ids` are: what was passed over is found by that.
        """
        # One that was retried meanwhile expires nothing.
        expired = self.database.attempts.filter(pk__in=ids, status=Status.EXPIRED)
        over = set(self.database.lock_free(expired))
        edges = self._unreachable_edges(list(over))
        dependents = self._lock_dependents({pk for _, _, pk, _ in edges})
        still_open = self._lock_open([key for key, *_ in edges])
        verdicts: dict[int, tuple[bool, UUID | None, bool]] = {}
        causes: dict[UUID, UUID | None] = {}
        for key, prerequisite, pk, cause in edges:
            if key in still_open and prerequisite in over and pk in dependents:
                row = dependents[pk]
                if waits := row is not None and row.status == Status.WAITING:
                    causes.setdefault(pk, cause)
                    over.add(pk)
                verdicts[key] = (False, cause, waits)
        self._expire(causes)
        self._judge(verdicts)
        return [pk for pk in causes if dependents[pk].has_dependents]

    def _unreachable_edges(self, ids: Sequence[UUID]) -> list[tuple[int, UUID, UUID, UUID | None]]:
        """Return key, prerequisite, attempt and cause of each edge, the nearest ones first."""
        if not ids:
            return []
        database = self.database
        sql = UNREACHABLE.format(ids=placeholders(ids), deepest=DEEPEST, **database.names)
        rows = database.fetch(sql, [database.stored(pk) for pk in ids])
        return [(row[0], as_uuid(row[1]), as_uuid(row[2]), as_uuid(row[3])) for row in rows]

    # --- reading

    def with_dependents(self, ids: Iterable[UUID]) -> list[UUID]:
        """Return those of these attempts that others may wait for.

        `ids` are read only if there is any open edge: it is asked for each batch of successes.
        """
        if not ids or not self.database.fetch(ANY_OPEN.format(**self.database.names)):
            return []
        mine = self.database.attempts.filter(pk__in=list(ids), has_dependents=True)
        return list(mine.values_list("pk", flat=True))

    def still_needed(self, ids: Collection[UUID]) -> set[UUID]:
        """Return those of these attempts on which others depend that stay and haven't succeeded.

        One that has failed or expired can be retried, and its prerequisites have to be there then.
        Those of `ids` that nothing depends on don't stay.
        """
        edges = self.database.dependencies.filter(prerequisite_id__in=ids)
        pairs = list(edges.values_list("prerequisite_id", "attempt_id"))
        dependents = self.database.attempts.filter(pk__in={dependent for _, dependent in pairs})
        left = set(dependents.exclude(status=Status.SUCCEEDED).values_list("pk", flat=True))
        stay, needed = left.difference(ids), set[UUID]()
        while stay:
            found = {prerequisite for prerequisite, dependent in pairs if dependent in stay}
            # Each is looked at once: edges that were edited may form a circle.
            stay = (found & left) - needed
            needed |= found
        return needed

    # --- opening again

    def reopen(self, ids: Collection[UUID]) -> None:
        """Make these, which a person retries, wait for their unmet prerequisites again.

        Attempts that expired because of them wait again, too. In the transaction of the retry.
        """
        edges, attempts = self.database.dependencies, self.database.attempts
        edges.filter(attempt_id__in=ids, has_expired_it=True).update(has_expired_it=False)
        self._open_unreachable(ids)
        self._wait_again(ids)
        retried = list(ids)
        while retried:
            unmet = edges.filter(prerequisite_id__in=retried, state=UNMET)
            touched = list(unmet.values_list("attempt_id", flat=True))
            # To close an edge its dependent is locked first: from here on none of theirs changes.
            dependents = attempts.filter(pk__in=touched).order_by("id").select_for_update()
            list(dependents.values_list("pk", flat=True))
            unmet.update(state=OPEN, cause=None)
            still = edges.filter(attempt_id__in=touched, state=UNMET)
            hopeless = set(still.values_list("attempt_id", flat=True))
            mine = edges.filter(attempt_id__in=touched, has_expired_it=True)
            back = [pk for pk in mine.values_list("attempt_id", flat=True) if pk not in hopeless]
            mine.filter(attempt_id__in=back).update(has_expired_it=False)
            rows = attempts.filter(pk__in=back, status=Status.EXPIRED).order_by("id")
            retried = list(rows.select_for_update().values_list("pk", flat=True))
            attempts.filter(pk__in=retried, status=Status.EXPIRED).update(
                status=Status.PENDING, completed_at=None, reason="", claimed_by=None
            )
            self._wait_again(retried)

    def _open_unreachable(self, ids: Collection[UUID]) -> None:
        """Open what can never be met, so that what was retried in vain is expired once more."""
        edges = self.database.dependencies.filter(attempt_id__in=ids, state=UNMET)
        pairs = dict(edges.values_list("pk", "prerequisite_id"))
        mendable = self.database.attempts.filter(pk__in=set(pairs.values()))
        mendable = mendable.exclude(status=Status.SUCCEEDED)
        hope = set(mendable.values_list("pk", flat=True))
        never = {key: pk for key, pk in pairs.items() if pk not in hope}
        self.database.dependencies.filter(pk__in=list(never)).update(state=OPEN, cause=None)
        self.close_when_committed(set(never.values()))

    def _wait_again(self, ids: Collection[UUID]) -> None:
        """Make those of these pending or scheduled attempts wait that have unmet edges."""
        edges = self.database.dependencies.filter(attempt_id__in=ids).exclude(state=MET)
        # Locked, since the snapshot of a REPEATABLE READ caller may be an old one.
        counts = Counter(edges.select_for_update().values_list("attempt_id", flat=True))
        for count, attempts in _by_value(counts).items():
            live = (Status.PENDING, Status.SCHEDULED)
            rows = self.database.attempts.filter(pk__in=attempts, status__in=live, claimed_by=None)
            rows.update(status=Status.WAITING, blockers=count)


def _judged(edge: Dependency, ending: Ending) -> Closed:
    condition, (status, cause) = edge.condition, ending
    is_met = condition == Condition.ANY or status in ENDINGS[Condition(condition)]
    return Closed(edge.pk, edge.attempt_id, is_met, None if status == Status.SUCCEEDED else cause)


def _by_value(values: Mapping[_Key, _Value]) -> dict[_Value, list[_Key]]:
    """Return the keys of each value."""
    keys: defaultdict[_Value, list[_Key]] = defaultdict(list)
    for key, value in values.items():
        keys[value].append(key)
    return keys


def _reason(cause: UUID | None) -> str:
    if cause is None:
        return "what it was to follow has succeeded"
    return f"a prerequisite did not succeed: {cause}"
