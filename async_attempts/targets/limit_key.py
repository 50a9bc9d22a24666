"""Limit keys: a number of attempts with the same key may run at once."""

from __future__ import annotations

import re
from typing import Any, Final
from uuid import UUID

from ..exceptions import InvalidOption
from ..limits import MOST_AT_ONCE
from ..payload import Arguments
from .names import TargetName
from .policy import Policy

LIMIT_KEY_LENGTH: Final = 255

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def limit_of(
    name: TargetName, policy: Policy, given: tuple[Any, Any], arguments: Arguments
) -> tuple[str, int | None]:
    """Return the limit key of an attempt, and how many with it may run at once; "": no limit.

    `given`: the call's own key and concurrency, "" and None by default; a key of False turns the
    author's off. If the author's key is a function, it is called with the attempt's arguments and
    returns None for no limit. A concurrency without a key limits the target's own attempts. Raises
    InvalidOption, naming the option.
    """
    key, concurrency = given
    if key == "" and concurrency is None and policy.limit_key is None is policy.concurrency:
        return "", None
    if key is False:
        if concurrency is not None:
            raise InvalidOption("concurrency: limit_key=False turns the limit off; leave one out.")
        return "", None
    if concurrency is None:
        concurrency = policy.concurrency
    elif not _is_count(concurrency):
        raise InvalidOption(
            f"concurrency: must be a whole number from 1 to {MOST_AT_ONCE}, not {concurrency!r}."
        )
    own_name = f"{name.target}.{name.method_name}"
    if key == "" and callable(key := policy.limit_key):
        key = _made(key, own_name, arguments)
        if key is None:
            return "", None
    return _text(own_name if key is None else key), concurrency or 1


def _made(function: Any, own_name: str, arguments: Arguments) -> Any:
    try:
        return function(*arguments.args, **arguments.kwargs)
    except Exception as error:
        raise InvalidOption(
            f"limit_key: the function of {own_name} raised {type(error).__name__}; it is called "
            "with the attempt's arguments and returns text, a whole number, a UUID or None."
        ) from error


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value <= MOST_AT_ONCE


def _text(key: Any) -> str:
    if isinstance(key, bool) or not isinstance(key, str | int | UUID):
        raise InvalidOption(
            f"limit_key: must be text, a whole number or a UUID, not a {type(key).__name__}; of a "
            "model instance take its pk."
        )
    text = str(key)
    if not 0 < len(text) <= LIMIT_KEY_LENGTH or _UNSTORABLE.search(text):
        raise InvalidOption(
            f"limit_key: must have 1 to {LIMIT_KEY_LENGTH} characters, no NUL and no lone "
            "surrogate; give a shorter one."
        )
    return text
