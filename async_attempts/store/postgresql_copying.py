"""PostgreSQL: very many new attempts by COPY, which is read while the next ones are encrypted."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.pq import Format

from ..encryption import cipher, is_ours
from ..models import AbstractAttempt
from ..models.beginning import Kind
from .gate import gate_of
from .inserting import Inserting
from .sending import is_direct
from .writing import Many

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
    """What all rows of a COPY have in common, in PostgreSQL's binary format."""

    sql: str
    before_id: bytes
    after_args: bytes


class PostgreSQLCopying(Inserting):
    """Rows that differ in nothing but their ids and their arguments, in any number."""

    def _write_whole(self, many: Many) -> bool:
        if many.kind is None or len(many.rows) < AT_LEAST or not is_direct(self.connection):
            return False
        if not is_ours(cipher()):
            # It is called while the connection is busy, and may need that itself.
            return False
        if self.columns.has_any_pre_save or not all(c.plain_types for c in self.columns.own):
            return False
        self.connection.validate_thread_sharing()
        self.connection.validate_no_broken_transaction()
        with self.connection.wrap_database_errors:
            if (common := self._common(many.rows[0])) is None:
                return False
            with self.connection.connection.cursor() as cursor, cursor.copy(common.sql) as copy:
                for part in self._parts(many, many.kind, common):
                    copy.write(part)
        self._announce(many.rows)
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
            kind = MODIFIER.sub("", str(column.field.db_type(self.connection)))
            names.append(column.name)
            places.append(f"CAST({place} AS {kind})")
            params += given
        gate = gate_of(self.alias) or "NULL"
        sql = f"SELECT row_security_active(%s), {gate}, {', '.join(places)}"
        with psycopg.Cursor(self.connection.connection) as cursor:
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
            self._note_alike(rows, kind)
        yield TRAILER


def _own(attempt: AbstractAttempt, before: bytes, after: bytes) -> Sequence[bytes]:
    row = attempt.__dict__
    args = row["args"]
    return before, row["id"].int.to_bytes(_ID_BYTES), _length(len(args)), args, after


def _field(value: bytes | None) -> bytes:
    return NULL if value is None else _length(len(value)) + value
