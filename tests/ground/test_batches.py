"""Items in pieces that fit into one statement."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from async_attempts.batches import STATEMENT_KEYS, by_size, in_batches


@pytest.mark.parametrize(
    ("number", "expected"), [(1, ["a", "b", "c"]), (2, ["ab", "c"]), (3, ["abc"]), (9, ["abc"])]
)
def test_at_most_so_many_in_each(number, expected):
    assert ["".join(batch) for batch in in_batches("abc", number)] == expected


def test_nothing_makes_no_batch():
    assert list(in_batches([])) == []
    assert list(by_size([], len, number=9)) == []


def test_as_many_as_a_statement_takes():
    assert [len(batch) for batch in in_batches(range(STATEMENT_KEYS + 1))] == [STATEMENT_KEYS, 1]


def test_no_more_is_read_than_was_asked_for():
    read: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            read.append(item)
            yield item

    assert next(in_batches(items(), 3)) == [0, 1, 2]
    assert read == [0, 1, 2]


def test_by_bytes_and_by_number():
    items = [b"a", b"bb", b"ccc", b"d", b"e", b"f"]
    batches = list(by_size(items, len, number=3, size=4))
    assert batches == [[b"a", b"bb"], [b"ccc", b"d"], [b"e", b"f"]]
    assert list(by_size(items, len, number=2, size=99)) == [items[:2], items[2:4], items[4:]]


def test_one_that_is_too_large_goes_alone():
    items = [b"a", b"bbbbbbbb", b"c"]
    assert list(by_size(items, len, number=9, size=4)) == [[b"a"], [b"bbbbbbbb"], [b"c"]]
