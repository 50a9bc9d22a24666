"""PostgreSQL: many new attempts in one short statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from ..models import AbstractAttempt
from .columns import Column
from .postgresql_copying import PostgreSQLCopying

FEW: Final = 8


class PostgreSQLInserting(PostgreSQLCopying):
    """From nothing to pending or scheduled, by arrays."""

    def _statement(
        self, attempts: Sequence[AbstractAttempt], keyed: bool, returned: Sequence[str]
    ) -> tuple[str, list[Any]]:
        """Many rows by an array for each column that differs: the text stays short."""
        if len(attempts) < FEW:
            return super()._statement(attempts, keyed, returned)
        columns = self.columns
        selected: list[tuple[str, str]] = []
        unnested: list[tuple[str, str]] = []
        params: list[Any] = []
        arrays: list[Any] = []
        by_column = zip(*map(columns.values_of, attempts), strict=True)
        for column, values in zip(columns.all, by_column, strict=True):
            if _is_one_value(column, values):
                place, given = columns.placed(column, values[0])
                params += given
                if values[0] is None and column.literal == "NULL":
                    continue
            elif any(hasattr(value, "resolve_expression") for value in values):
                return super()._statement(attempts, keyed, returned)
            else:
                place, kind, array = self._array(column, values)
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

    def _form_of(self, attempts: Sequence[AbstractAttempt]) -> str | None:
        return "many" if len(attempts) >= FEW else super()._form_of(attempts)

    def _own_params(self, attempts: Sequence[AbstractAttempt]) -> list[Any]:
        if len(attempts) < FEW:
            return super()._own_params(attempts)
        return [
            self._array(column, [attempt.__dict__[column.attname] for attempt in attempts])[2]
            for column in self.columns.own
        ]

    def _array(self, column: Column, values: Sequence[Any]) -> tuple[str, str, Any]:
        """What stands for the column, the type of its array, and that as the driver takes it."""
        place, kinds = f"u.{column.name}", set(map(type, values))
        # Of the two that always differ the array is written here: the driver's way takes longer.
        if column.attname == "id" and kinds == {UUID}:
            return place, "uuid", _array_of([f"{value.int:032x}" for value in values])
        if column.attname == "args" and kinds == {bytes} and not column.has_pre_save:
            return f"decode({place}, 'hex')", "text", _array_of([v.hex() for v in values])
        kind = str(column.field.db_type(self.connection))
        prepared = self.columns.prepared
        return place, kind, [None if v is None else prepared(column, v) for v in values]


def _array_of(hexadecimals: Sequence[str]) -> str:
    return '{"' + '","'.join(hexadecimals) + '"}'


def _is_one_value(column: Column, values: Sequence[Any]) -> bool:
    first = values[0]
    if column.plain_types or first is None:
        return values.count(first) == len(values)
    # What is equal in Python may not be in JSON: 1 and True.
    return all(value is first or value == {} == first for value in values)
