"""What can never begin, however long the chain that leads to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, TypeVar
from uuid import UUID

from django.db.models import QuerySet

from ..lifecycle import Status
from ..models import Dependency
from .rows import Rows, ended

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

DEEPEST: Final = 500
"""Links of a chain in one statement: MySQL refuses more than 1,000."""

DOOMED: Final = """
WITH RECURSIVE doomed (id, cause, depth) AS (
    SELECT attempt_id, cause, 1 FROM {dependency}
    WHERE has_expired_it AND attempt_id IN ({ids})
    UNION
    SELECT d.attempt_id, doomed.cause, doomed.depth + 1
    FROM {dependency} d JOIN doomed ON d.prerequisite_id = doomed.id
    WHERE d.state = 'open' AND d.{condition} = 'success' AND doomed.depth < {deepest}
)
SELECT d.id, d.prerequisite_id, d.attempt_id, doomed.cause
FROM {dependency} d JOIN doomed ON d.prerequisite_id = doomed.id
WHERE d.state = 'open' AND d.{condition} = 'success' ORDER BY doomed.depth
"""
"""The edges to what waits for an expired attempt's success, to what waits for that one's, …"""


class Dooming(Rows):
    """From waiting to expired, because of another."""

    @property
    def dependencies(self) -> QuerySet[Dependency]:
        """All edges on this database."""
        return Dependency._base_manager.using(self.alias)

    def lock_dependents(self, ids: Collection[UUID]) -> dict[UUID, Any]:
        """Those of these attempts that nobody else locks: `status`, `blockers`, `has_dependents`.

        None for what is gone. What is locked may be about to wait: come back to it.
        """
        locked = self.skipping_locked(self.attempts.filter(pk__in=ids).order_by("id"))
        columns = ("pk", "status", "blockers", "has_dependents")
        found: dict[UUID, Any] = {row.pk: row for row in locked.values_list(*columns, named=True)}
        if missing := set(ids) - found.keys():
            there = self.attempts.filter(pk__in=missing).values_list("pk", flat=True)
            found |= dict.fromkeys(missing.difference(there))
        return found

    def expire_doomed(self, causes: Mapping[UUID, UUID | None]) -> None:
        """Expire these attempts, which are locked and wait, and say what has caused it."""
        for cause, attempts in by_value(causes).items():
            waiting = self.attempts.filter(pk__in=attempts, status=Status.WAITING)
            waiting.update(**ended(Status.EXPIRED, reason=_reason(cause), blockers=0))

    def doom(self, ids: Sequence[UUID]) -> list[UUID]:
        """Expire what can't begin as these have expired; returns those of it that others follow.

        To be closed after that, as `ids` are: what was passed over is found by that.
        """
        expired = self.attempts.filter(pk__in=ids, status=Status.EXPIRED).order_by("id")
        # One that was retried meanwhile dooms nobody.
        over = set(self.skipping_locked(expired).values_list("pk", flat=True))
        edges = self._doomed_edges(list(over))
        dependents = self.lock_dependents({pk for _, _, pk, _ in edges})
        keys = [key for key, *_ in edges]
        still_open = self.lock_open(keys)
        verdicts: dict[int, tuple[UUID | None, bool]] = {}
        causes: dict[UUID, UUID | None] = {}
        for key, prerequisite, pk, cause in edges:
            if key in still_open and prerequisite in over and pk in dependents:
                row = dependents[pk]
                if waits := row is not None and row.status == Status.WAITING:
                    causes.setdefault(pk, cause)
                    over.add(pk)
                verdicts[key] = (cause, waits)
        self.expire_doomed(causes)
        for (cause, waited), some in by_value(verdicts).items():
            noted = {"has_expired_it": True} if waited else {}
            unmet = self.dependencies.filter(pk__in=some)
            unmet.update(state=Dependency.State.UNMET, cause=cause, **noted)
        return [pk for pk in causes if dependents[pk].has_dependents]

    def lock_open(self, edges: Collection[int]) -> set[int]:
        """Those of these edges that are open; their dependents are locked, so they stay so."""
        still = self.dependencies.filter(pk__in=edges, state=Dependency.State.OPEN).order_by("id")
        return set(self.skipping_locked(still).values_list("pk", flat=True))

    def _doomed_edges(self, ids: Sequence[UUID]) -> list[tuple[int, UUID, UUID, UUID | None]]:
        """Key, prerequisite, attempt and cause of each edge, the nearest ones first."""
        if not ids:
            return []
        sql = DOOMED.format(ids=", ".join(["%s"] * len(ids)), **self.words)
        field: Any = self.model._meta.pk
        with self.connection.cursor() as cursor:
            cursor.execute(sql, [field.get_db_prep_value(pk, self.connection) for pk in ids])
            rows = cursor.fetchall()
        return [(row[0], as_uuid(row[1]), as_uuid(row[2]), as_uuid(row[3])) for row in rows]

    @cached_property
    def words(self) -> dict[str, Any]:
        """What the statements on dependencies have in common."""
        quote = self.connection.ops.quote_name
        return {
            "dependency": quote(Dependency._meta.db_table),
            # MySQL has reserved it.
            "condition": quote("condition"),
            "deepest": DEEPEST,
        }


def by_value(values: Mapping[_Key, _Value]) -> dict[_Value, list[_Key]]:
    """The keys of each value."""
    keys: defaultdict[_Value, list[_Key]] = defaultdict(list)
    for key, value in values.items():
        keys[value].append(key)
    return keys


def _reason(cause: UUID | None) -> str:
    if cause is None:
        return "what it was to follow has succeeded"
    return f"a prerequisite did not succeed: {cause}"


def as_uuid(stored: Any) -> Any:
    """An id, as a cursor of any of the drivers gives it."""
    return stored if stored is None or isinstance(stored, UUID) else UUID(str(stored))
