"""Checks of the options of an attempt; each error names the option and the remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.utils.timezone import is_naive

from ..backoff import Backoff
from ..conf import settings
from ..exceptions import InvalidOption
from ..payload.limits import MAX_REASON_BYTES, require_shallow
from ..values import ANY, CENTURY, is_number, is_storable, is_whole, seconds, seconds_of
from .bounds import MAX_METADATA_BYTES, NOTE_LENGTH, TOKEN_LENGTH

_EXPONENT: Final = re.compile(r"\de[+-]\d")
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def as_seconds(name: str, value: Any) -> float | None:
    """Seconds from now, for a moment that is given as such."""
    seconds = seconds_of(value)
    if seconds is not None and not -CENTURY <= seconds <= CENTURY:
        raise InvalidOption(f"{name}: must be within a hundred years from now.")
    return seconds


def check_moment(name: str, value: Any) -> None:
    """Raise InvalidOption unless `value` is None, an aware datetime or a database expression."""
    if value is None or hasattr(value, "resolve_expression"):
        return
    if not isinstance(value, datetime):
        raise InvalidOption(f"{name}: must be an aware datetime, not {type(value).__name__}.")
    if is_naive(value):
        raise InvalidOption(
            f"{name}: the datetime is naive; give it a timezone (django.utils.timezone.now())."
        )
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise InvalidOption(f"{name}: {value} is outside of the years 1 to 9999 in UTC.") from None


def timeout_seconds(timeout: Any) -> float:
    """Seconds of a `timeout` for waiting; None is for ever. Raises InvalidOption."""
    if timeout is None:
        return float("inf")
    expected = "seconds or a timedelta, not negative, or None"
    return seconds("timeout:", timeout, InvalidOption, expected, may_be_zero=True, most=ANY)


def spread_seconds(value: Any) -> float:
    """Seconds of a `spread`. Raises InvalidOption unless that is a time, not negative, or None."""
    if value is None:
        return 0.0
    expected = "seconds or a timedelta, from 0 to a hundred years"
    return seconds("spread:", value, InvalidOption, expected, may_be_zero=True)


def check_number(name: str, value: Any, expected: str, *, whole: bool = False) -> None:
    """Raise InvalidOption unless `value` is None or a positive number."""
    if value is None:
        return
    is_right = is_whole(value) if whole else is_number(value) and value > 0
    if not is_right or value >= 2**31 - 1:
        raise InvalidOption(f"{name}: must be {expected}, not {value!r}.")


def check_backoff(backoff: Backoff) -> None:
    """Raise InvalidOption unless the settings have the queue and the priority of its retries."""
    try:
        if backoff.queue is not None:
            settings().queue(backoff.queue)
        if backoff.priority is not None:
            settings().priority(backoff.priority)
    except InvalidOption as error:
        raise InvalidOption(f"backoff: {error}") from None


def check_token(token: Any) -> None:
    """Raise InvalidOption unless `token` is None or can be stored and compared."""
    if token is None:
        return
    if not isinstance(token, str) or not 0 < len(token) <= TOKEN_LENGTH or not is_storable(token):
        raise InvalidOption(
            f"idempotence_token: must be a string of 1 to {TOKEN_LENGTH} characters, no NUL and no "
            "lone surrogate."
        )


def check_reason(reason: Any) -> None:
    """Raise InvalidOption unless `reason` is text that every database can store."""
    if not isinstance(reason, str):
        raise InvalidOption(
            f"reason: must be text, not {type(reason).__name__}; leave it out if there is none."
        )
    if not is_storable(reason):
        raise InvalidOption("reason: must hold no NUL and no lone surrogate.")
    if (size := len(reason.encode())) > MAX_REASON_BYTES:
        raise InvalidOption(
            f"reason: has {size:,} bytes, more than {MAX_REASON_BYTES:,}; shorten it."
        )


def check_progress(percent: Any, note: Any) -> tuple[int, str]:
    """Return both as they are stored: without fractions of a percent. Raises InvalidOption."""
    if not is_number(percent) or not 0 <= percent <= 100:
        raise InvalidOption(f"set_progress: percent must be from 0 to 100, not {percent!r}.")
    if not isinstance(note, str) or len(note) > NOTE_LENGTH or not is_storable(note):
        raise InvalidOption(
            f"set_progress: note must be a string of at most {NOTE_LENGTH} characters, no NUL and "
            "no lone surrogate."
        )
    return int(percent), note


def check_metadata(metadata: Any) -> None:
    """Raise InvalidOption unless `metadata` is plain JSON that every database can store."""
    try:
        if not isinstance(metadata, Mapping):
            raise TypeError(f"is a {type(metadata).__name__}")
        size = len(json.dumps(metadata, allow_nan=False))
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
        require_shallow(text.encode("utf-8", "replace"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"metadata: must be a dict of plain JSON: {error}.") from None
    if _ESCAPED_NUL.search(text) or not is_storable(text):
        raise InvalidOption("metadata: must hold no NUL and no lone surrogate.")
    if _EXPONENT.search(text):
        size += _digits_written_out(metadata)
    if size > MAX_METADATA_BYTES:
        raise InvalidOption(
            f"metadata: takes {size:,} bytes as JSON, more than {MAX_METADATA_BYTES:,}; "
            "pass what is large as an argument."
        )


def _digits_written_out(value: Any) -> int:
    """The bytes that the numbers in `value` take besides: PostgreSQL writes 1e+22 without the e."""
    if isinstance(value, Mapping):
        return sum(map(_digits_written_out, value.values()))
    if isinstance(value, list | tuple):
        return sum(map(_digits_written_out, value))
    if isinstance(value, float):
        return max(0, len(f"{Decimal(repr(value)):f}") - len(repr(value)))
    return 0
