"""Batches: many items in pieces that fit into one statement each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

_T = TypeVar("_T")

STATEMENT_KEYS: Final = 1000
"""The most parameters that one statement takes on every database."""

STATEMENT_BYTES: Final = 4 * 2**20


def in_batches(items: Iterable[_T], number: int = STATEMENT_KEYS) -> Iterator[list[_T]]:
    """Yield `items` in order, in lists of at most `number`; they are read one list ahead at most.

    (`itertools.batched` is new in Python 3.12.)
    """
    walk = iter(items)
    while batch := list(islice(walk, number)):
        yield batch


def by_size(
    items: Iterable[_T], size_of: Callable[[_T], int], *, number: int, size: int = STATEMENT_BYTES
) -> Iterator[list[_T]]:
    """Yield `items` in order, in lists of at most `number` and, but for a single item, `size`.

    `size_of`: the bytes of one item.
    """
    batch: list[_T] = []
    whole = 0
    for item in items:
        own = size_of(item)
        if batch and (len(batch) >= number or whole + own > size):
            yield batch
            batch, whole = [], 0
        batch.append(item)
        whole += own
    if batch:
        yield batch
