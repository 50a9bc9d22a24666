"""Expressions of several moves: moments, ends of attempts, and headers of sealed values.

A header is the first bytes of a sealed value, which name its format and its key. To take them,
SQLite loads the whole value: so what is over its limit has none here.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Final, TypeVar

from django.db.models import (
    BinaryField,
    Case,
    DateTimeField,
    Expression,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Greatest
from django.db.models.lookups import GreaterThan
from django.db.models.sql.compiler import SQLCompiler

from ..encryption import HEADER_BYTES
from ..lifecycle import Status
from ..models import DatabaseNow
from ..models.large_values import octets
from ..payload.limits import most_args_bytes

_Rows = TypeVar("_Rows", bound=QuerySet[Any])

UNCOUNTED: Final = Greatest(F("num_attempts") - 1, 0)
"""The number of executions without the one that a claim has counted; a person may have set it to 0
meanwhile."""

ONE_MORE_SNOOZE: Final = Coalesce(F("num_snoozes"), 0) + 1

UNBEGUN: Final = {"claimed_by": None, "started_at": None, "num_attempts": UNCOUNTED}
"""The columns of an attempt that is given back before it has begun."""

LITERAL: Final = {
    "postgresql": "decode('{}', 'hex')",
    "mysql": "x'{}'",
    "sqlite": "x'{}'",
}

NO_BYTES: Final = {"postgresql": "''::bytea", "mysql": "''", "sqlite": "x''"}
"""SQL for no bytes, by vendor."""


class RowId(Func):
    """SQLite's own key of a row, which is a number whatever its columns hold."""

    template = "rowid"
    arity = 0
    output_field = IntegerField()


def seconds_from_now(seconds: float) -> Expression:
    """Return the database's now and `seconds` more, as an expression."""
    if not seconds:
        return DatabaseNow()
    later = DatabaseNow() + timedelta(seconds=seconds)
    return ExpressionWrapper(later, output_field=DateTimeField())


def status_when_due(moment: Any) -> Any:
    """Return the status, as an expression, of an attempt that is due at `moment`.

    `moment`: an aware datetime or an expression.
    """
    value = moment if hasattr(moment, "resolve_expression") else Value(moment)
    later = GreaterThan(value, DatabaseNow())
    return Case(When(later, then=Value(Status.SCHEDULED)), default=Value(Status.PENDING))


def ended(status: Status, **columns: Any) -> dict[str, Any]:
    """Return the columns of an attempt that ends now."""
    return {"status": status, "completed_at": DatabaseNow(), **columns}


def due_in(delay: float, **columns: Any) -> dict[str, Any]:
    """Return the columns of an attempt that is given back, and due in `delay` seconds."""
    due = seconds_from_now(delay)
    return {"status": Status.SCHEDULED, "claimed_by": None, "scheduled_at": due, **columns}


def moved_to(queue: str, priority: int | None) -> dict[str, Any]:
    """Return the columns of an attempt that moves to a queue and a priority, if given."""
    columns: dict[str, Any] = {"queue": queue} if queue else {}
    return columns if priority is None else {**columns, "priority": priority}


class Header(Func):
    """The header of a measured column, for the ORM; no bytes for what is over its limit."""

    arity = 1
    output_field = BinaryField()

    def as_sql(
        self, compiler: SQLCompiler, connection: Any, *args: Any, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        [column] = self.source_expressions
        field: Any = column.output_field
        sql, _ = compiler.compile(column)
        return _header(connection.vendor, sql, field.most_bytes), ()


HEADER: Final = Header("args")
"""The header of an attempt's arguments."""


def _header(vendor: str, column: str, most: int) -> str:
    """SQL for the header of a column."""
    first, nothing = f"substr({column}, 1, {HEADER_BYTES})", NO_BYTES[vendor]
    if vendor == "sqlite":
        # Any of its columns can hold a text.
        has_header = f"typeof({column}) = 'blob' AND length({column}) <= {most}"
        return f"CASE WHEN {has_header} THEN {first} ELSE {nothing} END"
    return f"CASE WHEN {octets(vendor, column)} > {most} THEN {nothing} ELSE {first} END"


def header_of(column: str, vendor: str) -> str:
    """SQL for the header of an attempt's arguments."""
    return _header(vendor, column, most_args_bytes())


def among(headers: Collection[bytes], vendor: str) -> str:
    """SQL for these headers, as literals, after `IN` or `NOT IN`."""
    return "({})".format(", ".join(LITERAL[vendor].format(header.hex()) for header in headers))


def but_for(headers: Collection[bytes], column: str, vendor: str) -> str:
    """Return the SQL to add to a condition on attempts: none of these headers; "" for none.

    As literals, so that a statement without them stays the same text with the same parameters.
    """
    if not headers:
        return ""
    return f" AND {header_of(column, vendor)} NOT IN {among(headers, vendor)}"


def without(rows: _Rows, headers: Collection[bytes]) -> _Rows:
    """Return those of `rows`, attempts, that have none of these headers."""
    if not headers:
        return rows
    return rows.annotate(header=HEADER).exclude(header__in=list(headers))
