"""PostgreSQL: many new attempts by an array for each column that differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from django.db.models.expressions import DatabaseDefault

from ...models import AbstractAttempt
from ..columns import Column
from ..insert import Insert

FEW: Final = 8
"""Rows; for fewer, the arrays cost more than the longer statement."""


class PostgreSQLInsert(Insert):
    """One statement for a few attempts, arrays for many."""

    def statement(
        self, attempts: Sequence[AbstractAttempt], keyed: bool, returned: Sequence[str]
    ) -> tuple[str, list[Any]]:
        if len(attempts) < FEW:
            return super().statement(attempts, keyed, returned)
        columns = self.columns
        selected: list[tuple[str, str]] = []
        unnested: list[tuple[str, str]] = []
        params: list[Any] = []
        arrays: list[Any] = []
        by_column = zip(*map(columns.values_of, attempts), strict=True)
        for column, values in zip(columns.all, by_column, strict=True):
            if all(isinstance(value, DatabaseDefault) for value in values):
                # DEFAULT is allowed in VALUES only; the database fills in what isn't named.
                continue
            if _is_one_value(column, values):
                place, given = columns.placed(column, values[0])
                params += given
                if values[0] is None and column.literal == "NULL":
                    continue
            elif any(hasattr(value, "resolve_expression") for value in values):
                return super().statement(attempts, keyed, returned)
            else:
                place, kind, array = self.array(column, values)
                unnested.append((column.name, f"%s::{kind}[]"))
                arrays.append(array)
            selected.append((column.name, place))
        names, types = zip(*unnested, strict=True)
        source = (
            f"SELECT {', '.join(place for _, place in selected)} "
            f"FROM unnest({', '.join(types)}) AS u ({', '.join(names)})"
        )
        into = [name for name, _ in selected]
        return self._insert(into, source, keyed, returned, len(attempts)), params + arrays

    def array(self, column: Column, values: Sequence[Any]) -> tuple[str, str, Any]:
        """Return the column's expression, the type of its array, and the array for the driver."""
        place, kinds = f"u.{column.name}", set(map(type, values))
        # Arrays of the two that always differ are written here: the driver's way takes longer.
        if column.attname == "id" and kinds == {UUID}:
            return place, "uuid", _array_of([f"{value.int:032x}" for value in values])
        if column.attname == "args" and kinds == {bytes} and not column.has_pre_save:
            return f"decode({place}, 'hex')", "text", _array_of([v.hex() for v in values])
        kind = str(column.field.db_type(self.database.connection))
        prepared = self.columns.prepared
        return place, kind, [None if v is None else prepared(column, v) for v in values]


def _array_of(hexadecimals: Sequence[str]) -> str:
    return '{"' + '","'.join(hexadecimals) + '"}'


def _is_one_value(column: Column, values: Sequence[Any]) -> bool:
    first = values[0]
    if column.plain_types or first is None:
        return values.count(first) == len(values)
    # Values that are equal in Python may differ in JSON: 1 and True.
    return all(value is first or value == {} == first for value in values)
