"""The defaults of a queue's attempts, as its options in the settings say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from .backoff import Backoff
from .exceptions import InvalidSetting
from .suggestions import refuse_unknown
from .values import flag, seconds, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDefaults:
    """What holds for an attempt if neither its row nor its target says; times in seconds."""

    max_attempts: int
    timeout: float
    max_crashes: int
    backoff: Backoff | None = None
    keep_result: bool | None = None
    priority: int | str | None = None
    expires_after: float | None = None


def read_defaults(path: str, given: Any) -> Mapping[str, Any]:
    """Return the defaults that a queue is given, checked. Raises InvalidSetting.

    A priority is left to whoever knows the names of priorities.
    """
    if not isinstance(given, Mapping):
        raise InvalidSetting(f"{path} must be a dict, not {given!r}.")
    refuse_unknown(path, given, _READERS, InvalidSetting)
    read = {name: _READERS[name](f"{path}[{name!r}]", value) for name, value in given.items()}
    return MappingProxyType(read)


def _backoff(path: str, value: Any) -> Backoff:
    if not isinstance(value, Backoff):
        raise InvalidSetting(f"{path} must be a Backoff, not {value!r}.")
    return value


_count: Final = partial(whole, error=InvalidSetting)
_seconds: Final = partial(seconds, error=InvalidSetting)

_READERS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "max_attempts": _count,
    "backoff": _backoff,
    "timeout": _seconds,
    "max_crashes": _count,
    "keep_result": partial(flag, error=InvalidSetting),
    "priority": lambda _path, value: value,
    "expires_after": _seconds,
}
"""The function that reads each option."""
