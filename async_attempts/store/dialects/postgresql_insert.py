"""PostgreSQL: many new attempts by an array for each column that differs, or by COPY."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import psycopg
from django.db.models.expressions import DatabaseDefault
from psycopg.pq import Format

from ...encryption import cipher, is_ours
from ...models import AbstractAttempt
from ...models.row_template import RowTemplate
from ...models.sealing import seal_alike
from ...plaintext import Plaintext
from ..columns import Column
from ..insert import PER_ROW, Insert, InsertAlike, Placeholder, mark_written
from ..notifications import gate_of

FEW: Final = 8
"""Rows; for fewer, the arrays cost more than the longer statement."""

COPY_FROM: Final = 64
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


class PostgreSQLInsert(Insert):
    """One statement for a few attempts, arrays for many."""

    shared_lock = "FOR SHARE"

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
                placeholder, given = columns.placeholder_of(column, values[0])
                params += given
                if values[0] is None and column.literal == "NULL":
                    continue
            elif any(hasattr(value, "resolve_expression") for value in values):
                return super().statement(attempts, keyed, returned)
            else:
                placeholder, kind, array = self.array(column, values)
                unnested.append((column.name, f"%s::{kind}[]"))
                arrays.append(array)
            selected.append((column.name, placeholder))
        names, types = zip(*unnested, strict=True)
        source = (
            f"SELECT {', '.join(placeholder for _, placeholder in selected)} "
            f"FROM unnest({', '.join(types)}) AS u ({', '.join(names)})"
        )
        into = [name for name, _ in selected]
        return self._insert(into, source, keyed, returned, len(attempts)), params + arrays

    def array(self, column: Column, values: Sequence[Any]) -> tuple[str, str, Any]:
        """Return the column's expression, the type of its array, and the array for the driver."""
        placeholder, kinds = f"u.{column.name}", set(map(type, values))
        # Arrays of the two that always differ are written here: the driver's way takes longer.
        if column.attname == "id" and kinds == {UUID}:
            return placeholder, "uuid", _array_of([f"{value.int:032x}" for value in values])
        if column.attname == "args" and kinds == {bytes} and not column.has_pre_save:
            return f"decode({placeholder}, 'hex')", "text", _array_of([v.hex() for v in values])
        kind = str(column.field.db_type(self.database.connection))
        prepared = self.columns.prepared
        return placeholder, kind, [None if v is None else prepared(column, v) for v in values]


def _array_of(hexadecimals: Sequence[str]) -> str:
    return '{"' + '","'.join(hexadecimals) + '"}'


def _is_one_value(column: Column, values: Sequence[Any]) -> bool:
    first = values[0]
    if column.plain_types or first is None:
        return values.count(first) == len(values)
    # Values that are equal in Python may differ in JSON: 1 and True.
    return all(value is first or value == {} == first for value in values)


class Common(NamedTuple):
    """The values that all rows of a COPY have in common, in PostgreSQL's binary format."""

    sql: str
    before_id: bytes
    after_args: bytes


class PostgreSQLAlike(InsertAlike):
    """One statement for a few rows, arrays for more, COPY for very many."""

    def __init__(self, insert: PostgreSQLInsert) -> None:
        super().__init__(insert)
        self.insert: PostgreSQLInsert = insert

    def write_within(
        self,
        rows: Sequence[AbstractAttempt],
        plaintexts: Sequence[Plaintext],
        template: RowTemplate,
    ) -> None:
        if not (
            len(rows) >= COPY_FROM
            and self._may_copy()
            and self._is_copied(rows, plaintexts, template)
        ):
            super().write_within(rows, plaintexts, template)

    def _is_copied(
        self,
        rows: Sequence[AbstractAttempt],
        plaintexts: Sequence[Plaintext],
        template: RowTemplate,
    ) -> bool:
        """Write them by COPY; False, and nothing done, where COPY is refused."""
        connection: Any = self.database.connection
        with connection.cursor() as cursor, connection.wrap_database_errors:
            # Django's cursor does so when it executes; it doesn't know of COPY.
            connection.validate_no_broken_transaction()
            if (common := self._common(rows[0])) is None:
                return False
            with cursor.copy(common.sql) as copy:
                copy.write(SIGNATURE)
                for start in range(0, len(rows), AT_A_TIME):
                    some = rows[start : start + AT_A_TIME]
                    seal_alike(some, plaintexts[start : start + AT_A_TIME])
                    copy.write(b"".join([part for row in some for part in _parts(row, common)]))
                    mark_written(some, template)
                copy.write(TRAILER)
        return True

    def _may_copy(self) -> bool:
        """Return True if nobody misses an INSERT, and nothing else needs the busy connection."""
        connection: Any = self.database.connection
        if connection.execute_wrappers or connection.queries_logged:
            return False
        # A project's own cipher may ask the same database for its keys.
        return is_ours(cipher()) and all(column.plain_types for column in self.own)

    def _common(self, row: AbstractAttempt) -> Common | None:
        """Ask the server for the values of one of the rows; passes the gate.

        None where a policy decides which rows may be written: COPY doesn't ask it.
        """
        table = self.insert.columns.table
        placeholders = self.placeholders_of(row)
        own = [one for one in placeholders if one.column.attname in PER_ROW]
        other = [one for one in placeholders if one.column.attname not in PER_ROW]
        connection: Any = self.database.connection
        kinds = [MODIFIER.sub("", str(one.column.field.db_type(connection))) for one in other]
        casts = [f"CAST({one.sql} AS {kind})" for one, kind in zip(other, kinds, strict=True)]
        gate = gate_of(self.database.alias) or "NULL"
        params = [table, *self.prepared(_params_of(other), row)]
        with psycopg.Cursor(connection.connection) as cursor:
            cursor.format = Format.BINARY
            cursor.execute(f"SELECT row_security_active(%s), {gate}, {', '.join(casts)}", params)
            answer: Any = cursor.pgresult
            is_guarded, _, *values = [answer.get_value(0, n) for n in range(answer.nfields)]
        if is_guarded != b"\0":
            return None
        names = [placeholder.column.name for placeholder in own + other]
        return Common(
            f"COPY {table} ({', '.join(names)}) FROM STDIN (FORMAT binary)",
            struct.pack(">h", len(names)) + _length(_ID_BYTES),
            b"".join(map(_field, values)),
        )

    def statement(
        self, rows: Sequence[AbstractAttempt], template: RowTemplate
    ) -> tuple[str, Sequence[Any]]:
        if len(rows) < FEW:
            return super().statement(rows, template)
        key = (self, gate_of(self.database.alias), "arrays")
        if (kept := template.statements.get(key)) is None:
            sql, _ = self.insert.statement(rows, keyed=False, returned=())
            placeholders = self.placeholders_of(rows[0])
            other = [one for one in placeholders if one.column.attname not in PER_ROW]
            kept = template.statements[key] = sql, _params_of(other)
        sql, params = kept
        arrays = [
            self.insert.array(column, [row.__dict__[column.attname] for row in rows])[2]
            for column in self.own
        ]
        return sql, [*self.prepared(params, rows[0]), *arrays]


def _params_of(placeholders: Sequence[Placeholder]) -> list[Any]:
    return [param for placeholder in placeholders for param in placeholder.params]


def _parts(row: AbstractAttempt, common: Common) -> Sequence[bytes]:
    """Return the parts of one row of the COPY."""
    columns = row.__dict__
    args = columns["args"]
    key = columns["id"].int.to_bytes(_ID_BYTES)
    return common.before_id, key, _length(len(args)), args, common.after_args


def _field(value: bytes | None) -> bytes:
    return NULL if value is None else _length(len(value)) + value
