"""psycopg's binary format: what a claim brings back is taken as it comes, without conversions."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryLoader
from psycopg.types.string import ByteaBinaryLoader

EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
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
        cursor: psycopg.Cursor[Any] = psycopg.Cursor(connection.connection)
    cursor.format = Format.BINARY
    cursor.adapters.register_loader("uuid", ByteaBinaryLoader)
    cursor.adapters.register_loader("timestamptz", Int8BinaryLoader)
    cursor.adapters.register_dumper(IdArray, _IdArrayDumper)
    return connection._prepare_cursor(cursor)


def moment(micros: int) -> datetime:
    """The aware datetime behind a binary timestamp."""
    return EPOCH + timedelta(microseconds=micros)
