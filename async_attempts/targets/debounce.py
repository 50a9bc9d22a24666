"""Debounce and throttle: the options by which many calls of one key become few attempts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..exceptions import InvalidOption
from ..values import flag, has_lone_surrogate, seconds, text_key
from .policy import Policy

DEBOUNCE_OPTIONS: Final[tuple[str, ...]] = ("debounce", "throttle", "max_wait", "adaptive", "key")
"""The options of a call; `@attemptable` takes the same, but for the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DebounceOptions:
    """The debounce or throttle of one call; times in seconds, one of the two is set.

    `debounce`: each call moves the attempt that still waits to `debounce` seconds from now, never
    later than its first call + `max_wait`. With `adaptive` the n-th call moves it n times as far:
    due = min(now + n * debounce, first call + max_wait).
    `throttle`: attempts of one key begin at least `throttle` seconds apart.
    `key`: text that keeps apart calls of one target; None: all of them are together.
    """

    debounce: float | None = None
    throttle: float | None = None
    max_wait: float | None = None
    adaptive: bool = False
    key: str | None = None

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
    said = {name: given[name] for name in DEBOUNCE_OPTIONS if given.get(name) is not None}
    chosen: dict[str, float | None] = {
        name: None if said[name] is False else _seconds(name, said[name])
        for name in ("debounce", "throttle")
        if name in said
    }
    if not any(chosen.values()):
        chosen = {"debounce": policy.debounce, "throttle": policy.throttle} | chosen
    is_debounced = chosen.get("debounce") is not None
    options = DebounceOptions(
        debounce=chosen.get("debounce"),
        throttle=chosen.get("throttle"),
        max_wait=_seconds("max_wait", said["max_wait"])
        if "max_wait" in said
        else policy.max_wait
        if is_debounced
        else None,
        adaptive=flag("adaptive:", said["adaptive"], InvalidOption)
        if "adaptive" in said
        else policy.adaptive and is_debounced,
        key=_key(said["key"]) if "key" in said else None,
    )
    return options if options.name is not None else None


def _seconds(name: str, value: Any) -> float:
    expected = (
        "seconds or a timedelta, over zero and within a hundred years (max_wait, adaptive and key "
        "are options of their own)"
    )
    return seconds(f"{name}:", value, InvalidOption, expected)


def _key(value: Any) -> str:
    text = text_key("key:", value, InvalidOption)
    if not text or has_lone_surrogate(text):
        raise InvalidOption("key: must have a character at least, and no lone surrogate.")
    return text
