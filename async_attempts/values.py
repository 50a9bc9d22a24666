"""Checks of the values that callers and settings give: times, numbers, flags and text.

A `part` is the beginning of the error message, as its reader knows the value: `timeout:`, or
`ASYNC_ATTEMPTS['LEASE']`. A bool is never a number.
"""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

DAY: Final = 86_400.0
CENTURY: Final = 36_525 * DAY
FINITE: Final = sys.float_info.max
ANY: Final = float("inf")

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def is_number(value: object) -> bool:
    """Return True for an int or a float."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any, least: float = 1, most: float = ANY) -> bool:
    """Return True for an int from `least` to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def seconds_of(value: Any) -> float | None:
    """Return the seconds of a number or a timedelta; None for anything else.

    An int of more than a float can hold becomes the largest float, or the smallest.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not is_number(seconds):
        return None
    return float(max(-FINITE, min(seconds, FINITE)) if isinstance(seconds, int) else seconds)


def seconds(
    part: str,
    value: Any,
    error: type[Exception],
    expected: str = "seconds or a timedelta, over zero",
    *,
    may_be_zero: bool = False,
    most: float = CENTURY,
) -> float:
    """Return the seconds of a number or a timedelta, over zero and at most `most`.

    Raises `error`: "`part` must be `expected`, not …".
    """
    found = seconds_of(value)
    if found is None or not 0 <= found <= most or (found == 0 and not may_be_zero):
        raise error(f"{part} must be {expected}, not {value!r}.")
    return found


def whole(
    part: str,
    value: Any,
    error: type[Exception],
    expected: str = "a whole number, 1 or more",
    *,
    most: float = ANY,
) -> int:
    """Return `value`, an int from 1 to `most`.

    Raises `error`: "`part` must be `expected`, not …".
    """
    if not is_whole(value, most=most):
        raise error(f"{part} must be {expected}, not {value!r}.")
    return int(value)


def flag(part: str, value: Any, error: type[Exception]) -> bool:
    """Return `value`, a bool. Raises `error`."""
    if not isinstance(value, bool):
        raise error(f"{part} must be True or False, not {value!r}.")
    return value


def text_key(part: str, value: Any, error: type[Exception]) -> str:
    """Return the text of a str, an int or a UUID. Raises `error`."""
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise error(
            f"{part} must be text, a whole number or a UUID, not a {type(value).__name__}; of a "
            "model instance pass its pk."
        )
    return str(value)


def has_lone_surrogate(text: str) -> bool:
    """Return True for text that has no UTF-8."""
    return _LONE_SURROGATE.search(text) is not None


def is_storable(text: str) -> bool:
    """Return True for text that every database can store: no NUL and no lone surrogate."""
    return _UNSTORABLE.search(text) is None
