"""Prerequisites of an attempt: written with it, and read with their results when it begins."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction

from ..batches import STATEMENT_KEYS, in_batches
from ..exceptions import InvalidOption
from ..models import AbstractAttempt, Dependency
from ..models.dependency import prerequisites_of
from ..models.large_values import as_bytes, octets
from ..models.saving import remember
from ..models.sealing import seal
from ..payload.limits import MOST_RESULT_BYTES
from .database import Database, as_uuid
from .dependencies import Dependencies
from .revisits import What

PREREQUISITES: Final = """
SELECT d.prerequisite_id, d.{condition}, d.place, d.needs_result, d.cause,
    p.status, p.target, p.target_pk, p.method_name, p.idempotence_token,
    CASE WHEN {is_read} AND {octets} <= {most} THEN {found} END,
    CASE WHEN {is_read} THEN {octets} END
FROM {dependency} d LEFT JOIN {attempt} p ON p.id = d.prerequisite_id
WHERE d.attempt_id = %s ORDER BY d.place IS NULL, d.place, d.id
"""


class PrerequisiteRow(NamedTuple):
    """A prerequisite of an attempt and the edge to it; without a status, it is gone.

    The fields of the edge first, as in `Prerequisite`. `cause`: which attempt failed or expired
    first, if any did. `size`: the bytes of a result that is to be read; it isn't fetched if that
    is over the limit.
    """

    id: UUID
    condition: str
    place: int | None
    needs_result: bool
    cause: UUID | None
    status: str | None
    target: str
    target_pk: str | None
    method_name: str
    idempotence_token: str | None
    sealed_result: bytes | None
    size: int | None


class Prerequisites:
    """The edges from an attempt to what it waits for."""

    def __init__(self, database: Database, dependencies: Dependencies) -> None:
        self.database = database
        self.dependencies = dependencies

    def link(self, rows: Sequence[AbstractAttempt], found: Sequence[AbstractAttempt]) -> None:
        """Write the edges of those of `rows` that are new, in the transaction that wrote them.

        `found`: for each of them the row that is there, itself or another that has its token.
        Raises InvalidOption for a prerequisite that doesn't exist on this database.
        """
        if not any(row.edges for row in rows):
            return
        actual = {id(row): there for row, there in zip(rows, found, strict=True)}
        new = {there.pk for there in found if there.created}
        edges: list[Dependency] = []
        for row, there in zip(rows, found, strict=True):
            if there is row and row.edges:
                _require_sound(row, actual)
                edges += self._edges_of(row, actual)
        older = {edge.prerequisite_id for edge in edges} - new
        self._require(older)
        self.database.dependencies.bulk_create(edges, STATEMENT_KEYS)
        self._note_when_committed(older)

    def follow(self, row: AbstractAttempt) -> None:
        """Write the edges of a new row to attempts that were there before.

        In the transaction that wrote it. What is gone by then has ended.
        """
        edges = self._edges_of(row, {})
        self.database.dependencies.bulk_create(edges)
        self._note_when_committed({edge.prerequisite_id for edge in edges})

    def _note_when_committed(self, ids: Collection[UUID]) -> None:
        if ids:

            def later() -> None:
                self.note_dependents(sorted(ids))

            transaction.on_commit(later, self.database.alias, robust=True)

    def _edges_of(
        self, row: AbstractAttempt, actual: Mapping[int, AbstractAttempt]
    ) -> list[Dependency]:
        """The edges of a row that was written; its arguments are bound to the same."""
        bound_to = prerequisites_of(row.edges, actual)
        if any(
            actual.get(id(edge.prerequisite), edge.prerequisite) is not edge.prerequisite
            for edge in row.edges
        ):
            # It was sealed before the row was found that has the token of a prerequisite.
            seal(row, bound_to)
            self.database.attempts.filter(pk=row.pk).update(args=row.args)
            remember(row, ["args"])
        return [
            Dependency(
                attempt_id=row.pk,
                prerequisite_id=one.id,
                condition=one.condition,
                place=one.place,
                needs_result=one.needs_result,
            )
            for one in bound_to
        ]

    def _require(self, ids: Collection[UUID]) -> None:
        for some in in_batches(sorted(ids)):
            there = set(self.database.attempts.filter(pk__in=some).values_list("pk", flat=True))
            for missing in some:
                if missing not in there:
                    raise InvalidOption(
                        f"depends_on: there is no attempt {missing} on {self.database.alias!r}; "
                        "enqueue it first, in this transaction or a committed one."
                    )

    def note_dependents(self, ids: Iterable[UUID]) -> int:
        """Mark prerequisites as having dependents; close what waits for ended ones.

        Called when the dependents are committed: a caller's open transaction must not hold up the
        finish of what is older than itself. Returns how many edges were closed.
        """
        mine = list(ids)
        self.database.revisits.insist(What.DEPENDENTS, mine, self._note_all)
        return self.dependencies.close(mine)

    def _note_all(self, ids: Iterable[UUID]) -> set[UUID]:
        """Mark prerequisites as having dependents; return the ones that were passed over."""
        parts = (
            self.database.in_transaction(partial(self._note_dependents, some))
            for some in in_batches(ids)
        )
        return set().union(*parts)

    def _note_dependents(self, ids: Sequence[UUID]) -> set[UUID]:
        mine = self.database.attempts.filter(pk__in=ids)
        # An attempt that runs atomically is locked until it ends; a sweep finds what is left.
        locked = self.database.lock_free(mine)
        self.database.attempts.filter(pk__in=locked).update(has_dependents=True)
        # A worker that finishes one of the others just now may have seen no dependents.
        left = mine.exclude(pk__in=locked) if len(locked) < len(ids) else mine.none()
        return set(left.values_list("pk", flat=True))

    def of(self, attempt_id: UUID) -> list[PrerequisiteRow]:
        """The prerequisites of this attempt, in one statement: those handed over, in their order,
        then the others.
        """
        rows = self.database.fetch(self._sql, [self.database.stored(attempt_id)])
        return [
            PrerequisiteRow(as_uuid(pk), condition, place, bool(needs), as_uuid(cause), *rest)
            for pk, condition, place, needs, cause, *rest in rows
        ]

    @cached_property
    def _sql(self) -> str:
        vendor, result = self.database.vendor, f"p.{self.database.quoted('sealed_result')}"
        parts = {
            "found": as_bytes(vendor, result),
            "octets": octets(vendor, result),
            "most": MOST_RESULT_BYTES,
            "is_read": "(d.needs_result OR d.place IS NOT NULL)",
        }
        return PREREQUISITES.format(**parts, **self.database.names)


def _require_sound(row: AbstractAttempt, actual: Mapping[int, AbstractAttempt]) -> None:
    """Raise InvalidOption for an attempt that waits for itself, or a result that isn't kept."""
    for edge in row.edges:
        there: Any = actual.get(id(edge.prerequisite), edge.prerequisite)
        if getattr(there, "pk", there) == row.pk:
            raise InvalidOption(f"depends_on: {row} would wait for itself.")
        is_handed = edge.place is not None and edge.keeps_result
        if is_handed and id(edge.prerequisite) in actual and not there.keep_result:
            raise InvalidOption(
                f"keep_result: {there} hands its result to {row}, so it must be kept."
            )
