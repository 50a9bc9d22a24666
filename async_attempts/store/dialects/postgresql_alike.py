"""PostgreSQL: rows that are alike by two arrays, and very many of them by COPY."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.pq import Format

from ...encryption import cipher, is_ours
from ...models import AbstractAttempt
from ...models.new_rows import seal_alike
from ...models.row_template import RowTemplate
from ...plaintext import Plaintext
from ..alike import OWN_COLUMNS, InsertAlike, Place, note
from ..notifications import gate_of
from .postgresql_insert import FEW, PostgreSQLInsert

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
                    note(some, template)
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
        places = self.places_of(row)
        own = [place for place in places if place.column.attname in OWN_COLUMNS]
        other = [place for place in places if place.column.attname not in OWN_COLUMNS]
        connection: Any = self.database.connection
        casts = [
            f"CAST({place.sql} AS {MODIFIER.sub('', str(place.column.field.db_type(connection)))})"
            for place in other
        ]
        gate = gate_of(self.database.alias) or "NULL"
        params = [table, *self.prepared(_params_of(other), row)]
        with psycopg.Cursor(connection.connection) as cursor:
            cursor.format = Format.BINARY
            cursor.execute(f"SELECT row_security_active(%s), {gate}, {', '.join(casts)}", params)
            answer: Any = cursor.pgresult
            is_guarded, _, *values = [answer.get_value(0, n) for n in range(answer.nfields)]
        if is_guarded != b"\0":
            return None
        names = [place.column.name for place in own + other]
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
            places = self.places_of(rows[0])
            other = [place for place in places if place.column.attname not in OWN_COLUMNS]
            kept = template.statements[key] = sql, _params_of(other)
        sql, params = kept
        arrays = [
            self.insert.array(column, [row.__dict__[column.attname] for row in rows])[2]
            for column in self.own
        ]
        return sql, [*self.prepared(params, rows[0]), *arrays]


def _params_of(places: Sequence[Place]) -> list[Any]:
    return [param for place in places for param in place.params]


def _parts(row: AbstractAttempt, common: Common) -> Sequence[bytes]:
    """Return the parts of one row of the COPY."""
    columns = row.__dict__
    args = columns["args"]
    key = columns["id"].int.to_bytes(_ID_BYTES)
    return common.before_id, key, _length(len(args)), args, common.after_args


def _field(value: bytes | None) -> bytes:
    return NULL if value is None else _length(len(value)) + value
