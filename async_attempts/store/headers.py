"""Headers: the first bytes of sealed arguments, which name the format and the key."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, TypeVar

from django.db.models import BinaryField, F, QuerySet
from django.db.models.functions import Substr

from ..encryption import HEADER_BYTES

_Rows = TypeVar("_Rows", bound=QuerySet[Any])

LITERAL: Final = {
    "postgresql": "decode('{}', 'hex')",
    "mysql": "x'{}'",
    "sqlite": "x'{}'",
}

HEADER: Final = Substr(F("args"), 1, HEADER_BYTES, output_field=BinaryField())
"""The header of an attempt's arguments, for the ORM."""


def header_of(column: str) -> str:
    """SQL for the header of arguments."""
    return f"substr({column}, 1, {HEADER_BYTES})"


def among(headers: Collection[bytes], vendor: str) -> str:
    """SQL for these headers, as literals, after `IN` or `NOT IN`."""
    return "({})".format(", ".join(LITERAL[vendor].format(header.hex()) for header in headers))


def but_for(headers: Collection[bytes], column: str, vendor: str) -> str:
    """Return the SQL to add to a condition on attempts: none of these headers; "" for none.

    As literals, so that a statement without them stays the same text with the same parameters.
    """
    if not headers:
        return ""
    return f" AND {header_of(column)} NOT IN {among(headers, vendor)}"


def without(rows: _Rows, headers: Collection[bytes]) -> _Rows:
    """Return those of `rows`, attempts, that have none of these headers."""
    if not headers:
        return rows
    return rows.annotate(header=HEADER).exclude(header__in=list(headers))
