"""Headers: the first bytes of sealed values, which name the format and the key.

To take them, SQLite loads the whole value: so what is over its limit has none here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, TypeVar

from django.db.models import BinaryField, Func, QuerySet
from django.db.models.sql.compiler import SQLCompiler

from ..encryption import HEADER_BYTES
from ..models.large_values import octets
from ..payload.limits import most_args_bytes

_Rows = TypeVar("_Rows", bound=QuerySet[Any])

LITERAL: Final = {
    "postgresql": "decode('{}', 'hex')",
    "mysql": "x'{}'",
    "sqlite": "x'{}'",
}

NO_BYTES: Final = {"postgresql": "''::bytea", "mysql": "''", "sqlite": "x''"}
"""SQL for no bytes, by vendor."""


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
