"""One statement on its way to the database, by the shortest way that hides it from nobody."""

from __future__ import annotations

from asyncio import _get_running_loop
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.db.backends import utils
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.utils import asyncio

POSTGRESQL: Final = "django.db.backends.postgresql.base"


def _unpatched(method: Any, home: Any) -> Any:
    """The method, or None where it is another's by now: it was patched before this import."""
    return method if method.__code__.co_filename == home.__file__ else None


DJANGOS_EXECUTE: Final = _unpatched(CursorWrapper.execute, utils)
DJANGOS_CURSOR: Final = _unpatched(BaseDatabaseWrapper.cursor, asyncio)


class Answer(NamedTuple):
    """The number of rows that a statement wrote, and what it returned, if that was asked for."""

    written: int
    rows: list[Sequence[Any]] | None


def send(connection: Any, sql: str, params: Sequence[Any], *, reads: bool) -> Answer:
    """Execute it. Raises Django's database errors.

    In an open transaction on PostgreSQL, where nothing is read, the driver's own cursor is taken:
    most of the way through Django's serves what may not be there, wrappers, the log of queries,
    subclasses and patches of its classes. Where one of these is there, Django's is taken.
    """
    if reads or not is_direct(connection):
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return Answer(cursor.rowcount, cursor.fetchall() if reads else None)
    connection.validate_thread_sharing()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors:
        cursor = connection.connection.cursor()
        cursor.execute(sql, params)
    return Answer(cursor.rowcount, None)


def is_direct(connection: Any) -> bool:
    """Return True if a statement may go past Django's cursor without anybody missing it."""
    return (
        connection.in_atomic_block
        and connection.connection is not None
        and type(connection).__module__ == POSTGRESQL
        and not connection.execute_wrappers
        and not connection.queries_logged
        and getattr(connection.cursor, "__func__", None) is DJANGOS_CURSOR
        and CursorWrapper.execute is DJANGOS_EXECUTE
        and _get_running_loop() is None
    )
