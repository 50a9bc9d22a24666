"""In which pieces, and in which order, many rows are written, or read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from ..models import AbstractAttempt

_T = TypeVar("_T")

BATCH: Final = 1000
"""Ids in one statement."""

CHUNK_ROWS: Final = 500
CHUNK_BYTES: Final = 4 * 2**20


def by_key(attempts: Sequence[AbstractAttempt]) -> Sequence[AbstractAttempt]:
    """In the order of their unique keys: else callers of the same ones would wait in a circle."""
    if all(attempt.unique_key is None for attempt in attempts):
        return attempts
    return sorted(attempts, key=lambda attempt: attempt.unique_key or b"")


def _bytes_of_args(attempt: Any) -> int:
    return len(attempt.args)


def chunks(
    items: Sequence[_T], rows: int, size_of: Callable[[_T], int] = _bytes_of_args
) -> Iterator[Sequence[_T]]:
    """`items` in order, in pieces of at most `rows` and, but for a single one, CHUNK_BYTES.

    `size_of`: the bytes of one; by default those of an attempt's arguments.
    """
    chunk: list[_T] = []
    whole = 0
    for item in items:
        size = size_of(item)
        if chunk and (len(chunk) >= rows or whole + size > CHUNK_BYTES):
            yield chunk
            chunk, whole = [], 0
        chunk.append(item)
        whole += size
    if chunk:
        yield chunk


def in_batches(ids: Iterable[_T]) -> Iterator[list[_T]]:
    """Yield `ids`, as many at a time as one statement takes everywhere."""
    walk = iter(ids)
    while some := list(islice(walk, BATCH)):
        yield some
