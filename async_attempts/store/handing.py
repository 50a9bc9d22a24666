"""What attempts hand over to those that come after them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from ..models.sizes import as_bytes, octets
from ..payload.limits import MOST_RESULT_BYTES
from .dooming import Dooming, as_uuid

HANDED = """
SELECT d.prerequisite_id, d.{condition}, d.place, d.needs_result, d.cause,
    p.status, p.target, p.target_pk, p.method_name, p.idempotence_token,
    CASE WHEN {is_read} AND {octets} <= {most} THEN {found} END,
    CASE WHEN {is_read} THEN {octets} END
FROM {dependency} d LEFT JOIN {attempt} p ON p.id = d.prerequisite_id
WHERE d.attempt_id = %s ORDER BY d.place IS NULL, d.place, d.id
"""


class WaitedFor(NamedTuple):
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


def _waited_for(
    pk: Any, condition: str, place: int | None, needs: Any, cause: Any, *rest: Any
) -> WaitedFor:
    first = None if cause is None else as_uuid(cause)
    return WaitedFor(as_uuid(pk), condition, place, bool(needs), first, *rest)


class Handing(Dooming):
    """Reads only."""

    def waited_for_by(self, attempt_id: UUID) -> list[WaitedFor]:
        """The prerequisites of this attempt, in one statement: those handed over, in their order,
        then the others.
        """
        key = self.model._meta.pk.get_db_prep_value(attempt_id, self.connection)
        with self.connection.cursor() as cursor:
            cursor.execute(self._handed_sql, [key])
            return [_waited_for(*row) for row in cursor.fetchall()]

    @cached_property
    def _handed_sql(self) -> str:
        vendor, result = self.connection.vendor, f"p.{self.quoted('sealed_result')}"
        parts = {
            "found": as_bytes(vendor, result),
            "octets": octets(vendor, result),
            "most": MOST_RESULT_BYTES,
            "is_read": "(d.needs_result OR d.place IS NOT NULL)",
        }
        return HANDED.format(**parts, **self.words, **self.names)
