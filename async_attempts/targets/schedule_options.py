"""The options of a schedule's attempts, as `@recurring`, SCHEDULES and rows take them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final, TypedDict

from ..exceptions import InvalidOption
from ..suggestions import refuse_unknown
from ..values import flag, is_storable, is_whole, seconds, text_key
from .policy import LIMIT_KEY_LENGTH

NEXT_TICK: Final = "next tick"
"""The value of `expires` for attempts that are expired when the next one is due."""

MOST_EXECUTIONS: Final = 2**31 - 2


class ScheduleOptions(TypedDict, total=False):
    """The options of a schedule's attempts, beside queue and priority.

    `expires`: "next tick", or seconds or a timedelta from the enqueueing. `timeout`: seconds or a
    timedelta for one execution. `metadata`: a dict of plain JSON, stored in clear. `limit_key`:
    text. Each that is left out is as the target's `@attemptable` says.
    """

    expires: str | float | timedelta | None
    timeout: float | timedelta | None
    max_attempts: int | None
    keep_result: bool | None
    metadata: Mapping[str, Any] | None
    limit_key: str | None


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as they are stored, times in seconds. Raises InvalidOption."""
    if not isinstance(given, Mapping):
        raise InvalidOption(f"options: must be a dict, not {type(given).__name__}.")
    refuse_unknown("options", given, _READERS, InvalidOption)
    return {name: _READERS[name](value) for name, value in given.items() if value is not None}


def _expires(value: Any) -> str | float:
    if value == NEXT_TICK:
        return NEXT_TICK
    expected = f"{NEXT_TICK!r}, or seconds or a timedelta over zero"
    return seconds("expires:", value, InvalidOption, expected)


def _max_attempts(value: Any) -> int:
    if not is_whole(value, most=MOST_EXECUTIONS):
        raise InvalidOption(f"max_attempts: must be a whole number, 1 or more, not {value!r}.")
    return int(value)


def _metadata(value: Any) -> dict[str, Any]:
    try:
        if not isinstance(value, Mapping):
            raise TypeError(f"is a {type(value).__name__}")
        copied: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidOption(f"metadata: must be a dict of plain JSON: {error}.") from None
    return copied


def _limit_key(value: Any) -> str:
    text = text_key("limit_key:", value, InvalidOption)
    if not 0 < len(text) <= LIMIT_KEY_LENGTH or not is_storable(text):
        raise InvalidOption(
            f"limit_key: must have 1 to {LIMIT_KEY_LENGTH} characters, no NUL and no lone "
            "surrogate; give a shorter one."
        )
    return text


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "expires": _expires,
    "timeout": partial(seconds, "timeout:", error=InvalidOption, most=float(MOST_EXECUTIONS)),
    "max_attempts": _max_attempts,
    "keep_result": partial(flag, "keep_result:", error=InvalidOption),
    "metadata": _metadata,
    "limit_key": _limit_key,
}

OPTIONS: Final = tuple(_READERS)
