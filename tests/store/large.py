"""Values that are too large for a process, and what a process needs while it meets them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connections

from tests.store.malformed import put_raw

LARGE: Final = 12_000_000
"""Bytes. MariaDB's own limit for one value in a statement is 16 MiB."""

TOLD: Final = "12,000,000 bytes: too large to show"

_TEXT: Final = {
    "postgresql": "repeat('x', {})",
    "mysql": "repeat('x', {})",
    "sqlite": "substr(replace(hex(zeroblob(({0} + 1) / 2)), '0', 'x'), 1, {0})",
}
_BYTES: Final = {
    "postgresql": "decode('{head}' || repeat('00', {} - {n}), 'hex')",
    "mysql": "concat(x'{head}', repeat(x'00', {} - {n}))",
    "sqlite": "CAST(x'{head}' || zeroblob({} - {n}) AS BLOB)",
}
_JSON: Final = {
    "postgresql": "to_jsonb({})",
    "mysql": "json_quote({})",
    "sqlite": "json_quote({})",
}


def text(database: str, size: int = LARGE) -> str:
    """SQL for a text of so many bytes, which the database makes itself."""
    return _TEXT[connections[database].vendor].format(size)


def json_of(database: str, size: int = LARGE) -> str:
    """SQL for a string in JSON that has so many bytes with its quotes."""
    return _JSON[connections[database].vendor].format(text(database, size - 2))


def octets(database: str, head: bytes, size: int = LARGE) -> str:
    """SQL for so many bytes that begin with `head`."""
    form = _BYTES[connections[database].vendor]
    return form.format(size, head=head.hex(), n=len(head))


def marked(database: str, mark: str, size: int = LARGE) -> str:
    """SQL for a text that begins with `mark`, and has so many bytes after it."""
    if connections[database].vendor == "mysql":
        return f"concat('{mark}', {text(database, size)})"
    return f"'{mark}' || {text(database, size)}"


def write(database: str, row: Any, **columns: str) -> None:
    """Write SQL expressions into a row, as somebody could who has the database alone."""
    put_raw(database, row.pk, type(row), **columns)


@contextmanager
def peak_below(most: int) -> Iterator[None]:
    """Fail if the objects of this process take more than `most` bytes more at any moment."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < most, f"{peak - before:,} bytes"
