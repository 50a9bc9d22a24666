"""What attempts hand over to those that come after them."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from .dooming import Dooming, as_uuid

HANDED = """
SELECT d.prerequisite_id, p.status, p.target, p.target_pk, p.method_name, p.{result}
FROM {dependency} d LEFT JOIN {attempt} p ON p.id = d.prerequisite_id
WHERE d.attempt_id = %s AND d.place IS NOT NULL ORDER BY d.place
"""


class HandedOver(NamedTuple):
    """One that hands its result over; without a status, it is gone."""

    id: UUID
    status: str | None
    target: str
    target_pk: str | None
    method_name: str
    sealed_result: bytes | None


class Handing(Dooming):
    """Reads only."""

    def handed_to(self, attempt_id: UUID) -> list[HandedOver]:
        """Those that hand something over to this attempt, in their order, in one statement."""
        key = self.model._meta.pk.get_db_prep_value(attempt_id, self.connection)
        with self.connection.cursor() as cursor:
            cursor.execute(self._handed_sql, [key])
            return [HandedOver(as_uuid(pk), *rest) for pk, *rest in cursor.fetchall()]

    @cached_property
    def _handed_sql(self) -> str:
        return HANDED.format(result=self.quoted("sealed_result"), **self.words, **self.names)
