"""Values that no code of the package writes, put into a table past its checks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from django.db import connections

from async_attempts.models import Attempt, Failure, Queue, Schedule, Worker
from async_attempts.models.bounds import Bounds

NO_MOMENT: Final = {
    "postgresql": ("'infinity'", "'-infinity'"),
    "mysql": ("'0000-00-00 00:00:00'",),
    "sqlite": (
        "'infinity'",
        "''",
        "'0000-01-01 10:00:00'",
        "'2026-02-28 10:00'",
        "'2026-02-28 10:00:00' || char(0) || '1234567'",
        "5",
        "x'00'",
    ),
}
"""By vendor, SQL for values of a column of moments that Python can't read, and no check takes."""

NO_DAY: Final = {
    "sqlite": (
        "'2026-02-31 10:00:00'",
        "'2026-13-01 10:00:00'",
        "'2026-02-28 10:00:00' || char(0) || '1'",
    )
}
"""By vendor, the same of what SQLite's checks take."""

NO_NUMBER: Final = {
    "num_attempts": ("2147483647", "-1"),
    "max_attempts": ("2147483647", "-1"),
    "num_crashes": ("-1",),
    "claim_seq": ("9223372036854775807", "-1"),
    "concurrency": ("0", "10001"),
    "timeout": ("0", "-1", "2147483648", "1e308"),
}
"""By column, SQL for numbers that can't be counted up, or mean nothing."""

BOUNDED: Final = (Attempt, Schedule, Worker, Queue)


def refused_moments(database: str) -> tuple[str, ...]:
    return NO_MOMENT[connections[database].vendor]


def moments(database: str) -> tuple[str, ...]:
    vendor = connections[database].vendor
    return NO_MOMENT[vendor] + NO_DAY.get(vendor, ())


def put_raw(database: str, pk: Any, model: Any = Attempt, **columns: str) -> None:
    """Write SQL expressions into one row, whatever the server thinks of zeros as a date."""
    connection = connections[database]
    quote = connection.ops.quote_name
    values = ", ".join(f"{quote(name)} = {value}" for name, value in columns.items())
    key = model._meta.pk.get_db_prep_value(pk, connection) if isinstance(pk, UUID) else pk
    table, column = quote(model._meta.db_table), quote(model._meta.pk.column)
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SET @before = @@sql_mode, sql_mode = 'STRICT_ALL_TABLES'")
        try:
            cursor.execute(f"UPDATE {table} SET {values} WHERE {column} = %s", [key])
            assert cursor.rowcount == 1
        finally:
            if connection.vendor == "mysql":
                cursor.execute("SET sql_mode = @before")


@contextmanager
def without_checks(database: str) -> Iterator[None]:
    """Have the tables as they are where nobody has made the checks."""
    connection = connections[database]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA ignore_check_constraints = ON")
            try:
                yield
            finally:
                cursor.execute("PRAGMA ignore_check_constraints = OFF")
        return
    checks = [(m, c) for m in BOUNDED for c in m._meta.constraints if isinstance(c, Bounds)]
    with connection.schema_editor() as editor:
        for model, check in checks:
            editor.remove_constraint(model, check)
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            for table in [model._meta.db_table for model in (Failure, *BOUNDED)]:
                cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
        with connection.schema_editor() as editor:
            for model, check in checks:
                editor.add_constraint(model, check)
