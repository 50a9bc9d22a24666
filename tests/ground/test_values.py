"""Checks of times, numbers, flags and text."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID

import pytest

from async_attempts.exceptions import InvalidOption, InvalidSetting
from async_attempts.values import (
    ANY,
    CENTURY,
    FINITE,
    flag,
    has_lone_surrogate,
    is_number,
    is_storable,
    is_whole,
    seconds,
    seconds_of,
    text_key,
    whole,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "expected"), [(1, True), (0.5, True), (True, False), ("1", False)]
)
def test_a_bool_is_no_number(value, expected):
    assert is_number(value) is expected


@pytest.mark.parametrize("value", [True, 0, 11, 2.0, "2", None])
def test_whole_numbers_have_bounds(value):
    assert not is_whole(value, 1, 10)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2, 2.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        (-1, -1.0),
        (True, None),
        ("5", None),
        (None, None),
        (10**400, FINITE),
        (-(10**400), -FINITE),
        (ANY, ANY),
    ],
)
def test_seconds_of_a_number_or_a_timedelta(value, expected):
    found = seconds_of(value)
    assert found == expected
    assert found is None or type(found) is float


@pytest.mark.parametrize(
    "value", [0, -1, True, "5", None, NAN, ANY, CENTURY + 1, 10**400, timedelta(), timedelta(-1)]
)
def test_seconds_are_over_zero_and_within_a_century(value):
    with pytest.raises(
        InvalidOption,
        match=re.escape(f"delay: must be seconds or a timedelta, over zero, not {value!r}."),
    ):
        seconds("delay:", value, InvalidOption)


def test_seconds_may_be_zero_or_without_end():
    assert seconds("timeout:", 0, InvalidOption, may_be_zero=True) == 0.0
    assert seconds("timeout:", ANY, InvalidOption, most=ANY) == ANY
    with pytest.raises(InvalidOption, match="must be zero or more seconds, not nan"):
        seconds("timeout:", NAN, InvalidOption, "zero or more seconds", most=ANY)


@pytest.mark.parametrize("value", [0, True, 1.0, "1", None])
def test_a_whole_number_is_refused_with_the_callers_error(value):
    with pytest.raises(InvalidSetting, match=r"^X must be a whole number, 1 or more, not"):
        whole("X", value, InvalidSetting)


def test_a_whole_number_within_its_bounds():
    assert whole("X", 3, InvalidSetting, most=3) == 3
    with pytest.raises(InvalidSetting, match="X must be up to 3, not 4"):
        whole("X", 4, InvalidSetting, "up to 3", most=3)


def test_a_flag_is_a_bool():
    assert flag("X", False, InvalidSetting) is False
    with pytest.raises(InvalidSetting, match="X must be True or False, not 1"):
        flag("X", 1, InvalidSetting)


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (7, "7"), (UUID(int=1), str(UUID(int=1)))])
def test_the_text_of_a_key(value, text):
    assert text_key("key:", value, InvalidOption) == text


@pytest.mark.parametrize("value", [True, 1.5, None, object()])
def test_a_key_is_text_a_whole_number_or_a_uuid(value):
    with pytest.raises(InvalidOption, match="key: must be text, a whole number or a UUID, not a"):
        text_key("key:", value, InvalidOption)


def test_text_that_a_database_refuses():
    assert is_storable("Grüße 🎉")
    assert not is_storable("a\0")
    assert not is_storable("a\udc80")
    assert has_lone_surrogate("a\ud800")
    assert not has_lone_surrogate("a\0 🎉")
