"""PostgreSQL: many new attempts by arrays in one short statement, very many by COPY."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from psycopg.pq import Format

from ...encryption import cipher, is_ours
from ...models import AbstractAttempt
from ...models.beginning import Kind
from ..insert import Insert, Many
from ..insert_columns import Column
from ..notifications import gate_of
from ..sending import is_direct

FEW: Final = 8
AT_LEAST: Final = 64
"""Rows; for fewer, one INSERT is shorter than two statements and the COPY's own two answers."""

AT_A_TIME: Final = 200
"""Rows that are encrypted while the server writes those before them."""

MODIFIER: Final = re.compile(r"\(\d+(?:, *\d+)?\)")
"""A type's length, by which a cast would shorten what an INSERT refuses."""

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
NULL: Final = b"\xff\xff\xff\xff"
_LENGTH: Final = struct.Struct(">i")
_length = _LENGTH.pack
_ID_BYTES: Final = 16


class Common(NamedTuple):
    """The values that all rows of a COPY have in common, in PostgreSQL's binary format."""

    sql: str
    before_id: bytes
    after_args: bytes


class PostgreSQLInsert(Insert):
    """One statement for a few attempts, arrays for many, COPY for very many that are alike."""

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

    def write_whole(self, many: Many) -> bool:
        if (
            many.kind is None
            or len(many.rows) < AT_LEAST
            or not is_direct(self.database.connection)
        ):
            return False
        if not is_ours(cipher()):
            # It is called while the connection is busy, and may need that itself.
            return False
        if self.columns.has_any_pre_save or not all(c.plain_types for c in self.columns.own):
            return False
        self.database.connection.validate_thread_sharing()
        self.database.connection.validate_no_broken_transaction()
        with self.database.connection.wrap_database_errors:
            if (common := self._common(many.rows[0])) is None:
                return False
            with (
                self.database.connection.connection.cursor() as cursor,
                cursor.copy(common.sql) as copy,
            ):
                for part in self._parts(many, many.kind, common):
                    copy.write(part)
        self.announce(many.rows)
        return True

    def _common(self, attempt: AbstractAttempt) -> Common | None:
        """Ask the server for the values of one of the rows; passes the gate.

        None where a policy decides which rows may be written: COPY doesn't ask it.
        """
        columns = self.columns
        names, places = [], []
        params: list[Any] = []
        for column, value in zip(columns.all, columns.values_of(attempt), strict=True):
            if column in columns.own or (value is None and column.literal == "NULL"):
                continue
            place, given = columns.placed(column, value)
            kind = MODIFIER.sub("", str(column.field.db_type(self.database.connection)))
            names.append(column.name)
            places.append(f"CAST({place} AS {kind})")
            params += given
        gate = gate_of(self.database.alias) or "NULL"
        sql = f"SELECT row_security_active(%s), {gate}, {', '.join(places)}"
        with psycopg.Cursor(self.database.connection.connection) as cursor:
            cursor.format = Format.BINARY
            cursor.execute(sql, [columns.table, *params])
            answer: Any = cursor.pgresult
            is_guarded, _, *values = [answer.get_value(0, n) for n in range(answer.nfields)]
        if is_guarded != b"\0":
            return None
        all_names = [column.name for column in columns.own] + names
        return Common(
            f"COPY {columns.table} ({', '.join(all_names)}) FROM STDIN (FORMAT binary)",
            struct.pack(">h", len(all_names)) + _length(_ID_BYTES),
            b"".join(map(_field, values)),
        )

    def _parts(self, many: Many, kind: Kind, common: Common) -> Iterator[bytes]:
        _, before, after = common
        yield SIGNATURE
        for rows in many.sealed_by(AT_A_TIME):
            yield b"".join([part for row in rows for part in _own(row, before, after)])
            self.note_alike(rows, kind)
        yield TRAILER


def _array_of(hexadecimals: Sequence[str]) -> str:
    return '{"' + '","'.join(hexadecimals) + '"}'


def _is_one_value(column: Column, values: Sequence[Any]) -> bool:
    first = values[0]
    if column.plain_types or first is None:
        return values.count(first) == len(values)
    # Values that are equal in Python may differ in JSON: 1 and True.
    return all(value is first or value == {} == first for value in values)


def _own(attempt: AbstractAttempt, before: bytes, after: bytes) -> Sequence[bytes]:
    row = attempt.__dict__
    args = row["args"]
    return before, row["id"].int.to_bytes(_ID_BYTES), _length(len(args)), args, after


def _field(value: bytes | None) -> bytes:
    return NULL if value is None else _length(len(value)) + value
