"""Debounce and throttle: the options by which many calls of one key become few attempts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..exceptions import InvalidOption
from ..values import flag, seconds
from .keys import key_text
from .policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class DebounceOptions:
    """The debounce or throttle of one call; times in seconds, one of the two is set.

    `debounce`: each call moves the attempt that still waits to `debounce` seconds from now, never
    later than its first call + `max_wait`. With `adaptive` the n-th call moves it n times as far:
    due = min(now + n * debounce, first call + max_wait).
    `throttle`: attempts of one key begin at least `throttle` seconds apart.
    `key`: text that keeps apart calls of one target, or a function that makes it of the arguments;
    None: all of them are together.
    """

    debounce: float | None = None
    throttle: float | None = None
    max_wait: float | None = None
    adaptive: bool = False
    key: str | Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.debounce is not None and self.throttle is not None:
            raise InvalidOption(
                "debounce, throttle: an attempt has one of them; debounce waits until the calls "
                "pause, throttle performs the first one at once."
            )
        if self.debounce is None:
            for name in ("max_wait", "adaptive"):
                if getattr(self, name):
                    raise InvalidOption(f"{name}: belongs to debounce; say debounce=… with it.")
        elif self.max_wait is None:
            if self.adaptive:
                raise InvalidOption(
                    "adaptive: needs max_wait=…, up to which the delay grows with each call."
                )
        elif self.max_wait < self.debounce:
            raise InvalidOption(
                f"max_wait: must be at least debounce ({self.debounce:g} s), "
                f"not {self.max_wait:g} s."
            )
        if self.key is not None and self.name is None:
            raise InvalidOption("key: belongs to debounce or throttle; say one of them with it.")

    @property
    def name(self) -> str | None:
        """The name of the option that is set."""
        if self.debounce is not None:
            return "debounce"
        return "throttle" if self.throttle is not None else None

    def delay(self, calls: int) -> float:
        """Return the seconds from the last one of this number of debounced calls."""
        delay = self.debounce or 0.0
        if self.adaptive and self.max_wait is not None:
            return min(delay * calls, self.max_wait)
        return delay


def debounce_options_of(policy: Policy, given: Mapping[str, Any]) -> DebounceOptions | None:
    """Return the options of a call, else those of its target; None if neither has any.

    A call's own `debounce` or `throttle` replaces either of the target's; False turns it off.
    Raises InvalidOption, naming the option.
    """
    said = {
        name: read(name, given[name])
        for name, read in _READERS.items()
        if given.get(name) is not None
    }
    if said.get("debounce") is None and said.get("throttle") is None:
        said = {"debounce": policy.debounce, "throttle": policy.throttle} | said
    if said.get("debounce") is not None:
        said = {"max_wait": policy.max_wait, "adaptive": policy.adaptive} | said
    if said.get("debounce") is not None or said.get("throttle") is not None:
        said = {"key": policy.key} | said
    options = DebounceOptions(**said)
    return options if options.name is not None else None


def _period(name: str, value: Any) -> float | None:
    return None if value is False else _seconds(name, value)


def _seconds(name: str, value: Any) -> float:
    expected = (
        "seconds or a timedelta, over zero and within a hundred years (max_wait, adaptive and key "
        "are options of their own)"
    )
    return seconds(f"{name}:", value, InvalidOption, expected)


_READERS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "debounce": _period,
    "throttle": _period,
    "max_wait": _seconds,
    "adaptive": lambda name, value: flag(f"{name}:", value, InvalidOption),
    "key": key_text,
}
DEBOUNCE_OPTIONS: Final = tuple(_READERS)
"""The options of a call; `@attemptable` takes the same, and a function as the key."""
