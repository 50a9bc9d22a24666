"""Changes that somebody makes who writes rows and has no key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from typing import Any

from async_attempts.models import Failure
from tests.worker.helpers.attempts import stored


def flipped(value: bytes | memoryview) -> Iterator[bytes]:
    """`value` with one bit changed, for each of its bits."""
    for position in range(len(value)):
        for bit in range(8):
            changed = bytearray(value)
            changed[position] ^= 1 << bit
            yield bytes(changed)


def subsets(columns: Sequence[str]) -> list[tuple[str, ...]]:
    """All choices of at least one of the columns."""
    sizes = range(1, len(columns) + 1)
    return list(chain.from_iterable(combinations(columns, size) for size in sizes))


def swap(columns: Sequence[str], one: Any, other: Any) -> bool:
    """Exchange these columns of two rows past all guards; False if that changes nothing."""
    rows = type(one)._base_manager.using(one._state.db)
    before = [{column: getattr(row, column) for column in columns} for row in (one, other)]
    if "name" in columns:
        # It is unique.
        rows.filter(pk=one.pk).update(name=f"{one.pk}")
    rows.filter(pk=other.pk).update(**before[0])
    rows.filter(pk=one.pk).update(**before[1])
    return before[0] != before[1]


def require_refused(attempt: Any) -> None:
    """It has failed for good at the first execution, as it was altered."""
    row = stored(attempt)
    assert (row.status, row.num_attempts) == ("failed", 1), (row.reason, row.num_attempts)
    assert row.error_class == "async_attempts.exceptions.Tampered"
    assert [failure.kind for failure in row.failures.all()] == ["integrity"]


def kinds_of_failures(database: str) -> list[str]:
    """Of all executions that failed there."""
    return list(Failure.objects.using(database).values_list("kind", flat=True))
