"""Names out of rows, on one line and without anything that moves a cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_attempts.printable import NAME_LENGTH, printable


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("shop.clients.fulfil", "shop.clients.fulfil"),
        ("Bücher für 東京 ok", "Bücher für 東京 ok"),
        ("a\nERROR b", r"a\nERROR b"),
        ("a\r\x1b[2Jb", r"a\r\x1b[2Jb"),
        ("a\x00\x7f\x9b", r"a\x00\x7f\x9b"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("a\u2028b\u2029c\x85", r"a\u2028b\u2029c\x85"),
        ("lone \ud800", r"lone \ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("", ""),
    ],
)
def test_what_is_not_printable_is_escaped_as_repr_does(name, printed):
    assert printable(name) == printed
    assert repr(name)[1:-1] == printed


def test_it_is_clipped_to_so_many_characters_as_they_are_printed():
    assert printable("x" * NAME_LENGTH) == "x" * NAME_LENGTH
    assert printable("x" * (NAME_LENGTH + 1)) == "x" * (NAME_LENGTH - 1) + "…"
    assert printable("\n" * 10, 7) == r"\n\n\n…"
    assert len(printable("\x1b" * 10**6)) == NAME_LENGTH


@given(st.text(st.characters()), st.integers(1, 300))
def test_it_is_printable_short_and_the_same_when_printed_again(text, length):
    printed = printable(text, length)
    assert printed.isprintable()
    assert len(printed) <= length
    assert printable(printed, length) == printed
