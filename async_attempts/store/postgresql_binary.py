"""psycopg's binary format: what a claim brings back is taken as it comes, without conversions."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from weakref import WeakSet

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryLoader
from psycopg.types.string import ByteaBinaryLoader

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
PREPARED_AFTER: Final = 2
"""Executions of one statement."""

_asked: Final[WeakSet[psycopg.Connection[Any]]] = WeakSet()
_UUID_OID: Final = types["uuid"].oid
_HEADER: Final = struct.Struct(">iiIii")
_LENGTH_OF_ID: Final = (16).to_bytes(4)


class IdArray:
    """The bytes of ids, as one parameter of the type uuid[]."""

    __slots__ = ("ids",)

    def __init__(self, ids: Sequence[bytes]) -> None:
        self.ids = ids


class _IdArrayDumper(Dumper):
    """PostgreSQL's `array_recv`: dimensions, no nulls, the element's type, length, lower bound."""

    format = Format.BINARY
    oid = types["uuid"].array_oid

    def dump(self, obj: IdArray) -> Buffer:
        header = _HEADER.pack(1, 0, _UUID_OID, len(obj.ids), 1)
        return header + b"".join([_LENGTH_OF_ID + one for one in obj.ids])


def binary_cursor(connection: Any) -> Any:
    """A cursor of Django's, whose parameters are bound by the server and whose results are binary.

    Ids come as 16 bytes, moments as microseconds since `EPOCH`.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors:
        prepare_if_direct(connection.connection)
        cursor: psycopg.Cursor[Any] = psycopg.Cursor(connection.connection)
    cursor.format = Format.BINARY
    cursor.adapters.register_loader("uuid", ByteaBinaryLoader)
    cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
    cursor.adapters.register_dumper(IdArray, _IdArrayDumper)
    return connection._prepare_cursor(cursor)


def prepare_if_direct(session: psycopg.Connection[Any]) -> None:
    """Let the server plan the few statements of a worker once for each of its sessions.

    Django leaves that out for the sake of poolers, behind which a session isn't one. A pooler
    gives its clients a process id of its own, so where the server says the same one, there is none.
    """
    if session in _asked:
        return
    _asked.add(session)
    if session.prepare_threshold is None and not session.info.transaction_status:
        row = psycopg.Cursor(session).execute("SELECT pg_backend_pid()").fetchone()
        if row == (session.info.backend_pid,):
            session.prepare_threshold = PREPARED_AFTER


def moment(micros: int) -> datetime:
    """The aware datetime behind a binary timestamp."""
    return EPOCH + timedelta(microseconds=micros)
