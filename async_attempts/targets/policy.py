"""`Policy`: what a function's author says about its attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

from async_attempts.backoff import Backoff
from async_attempts.conf import PRIORITY_RANGE
from async_attempts.exceptions import InvalidOption
from async_attempts.limits import MOST_AT_ONCE
from async_attempts.values import CENTURY

from .importable import require_public
from .pacing import Pacing

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMES: Final = ("delay", "expires_after", "timeout", "debounce", "throttle", "max_wait")


class EventOptions(TypedDict, total=False):
    """What can be said of the attempts of one event; of `@on`, and of `@attemptable`, too.

    `delay`, `expires_after`: seconds or a timedelta from the enqueueing. `timeout`: seconds or a
    timedelta for one execution.
    """

    queue: str | None
    priority: int | str | None
    delay: float | timedelta | None
    expires_after: float | timedelta | None
    max_attempts: int | None
    timeout: float | timedelta | None
    keep_result: bool | None


class TargetOptions(EventOptions, total=False):
    """What can be said of all attempts of a target, by `@attemptable`.

    `atomic`: perform and record it in one database transaction. `debounce`, `throttle`,
    `max_wait`: seconds or a timedelta, `adaptive`: see `Pacing`. `limit_key`, `concurrency`: of one
    key, text or a function that makes it of the arguments, at most so many run at once, 1 by
    default; without a key, of this function. `aliases`: full dotted names that the function had
    before it was moved or renamed.
    """

    backoff: Backoff | None
    atomic: bool
    debounce: float | timedelta | None
    throttle: float | timedelta | None
    max_wait: float | timedelta | None
    adaptive: bool
    limit_key: str | Callable[..., Any] | None
    concurrency: int | None
    aliases: Iterable[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The options of a target's attempts; None leaves it to the row or the settings.

    `delay`, `expires_after`, `timeout`, `debounce`, `throttle`, `max_wait`: seconds. `queue` and
    the name of a `priority` are checked against the settings when an attempt is enqueued.
    `debounce` to `adaptive`: see `Pacing`. `limit_key`, `concurrency`: see `places_of`. Raises
    InvalidOption.
    """

    queue: str | None = None
    priority: int | str | None = None
    delay: float | None = None
    expires_after: float | None = None
    max_attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    atomic: bool = False
    keep_result: bool | None = None
    debounce: float | None = None
    throttle: float | None = None
    max_wait: float | None = None
    adaptive: bool = False
    limit_key: str | Callable[..., Any] | None = None
    concurrency: int | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for option, (expected, fits) in _RULES.items():
            value = getattr(self, option)
            if value is not None and not fits(value):
                raise InvalidOption(f"{option}: must be {expected}, not {value!r}.")
        pacing = Pacing(
            debounce=self.debounce,
            throttle=self.throttle,
            max_wait=self.max_wait,
            adaptive=self.adaptive,
        )
        if pacing.name is not None and self.delay is not None:
            raise InvalidOption(
                f"delay, {pacing.name}: both say when it is due; leave delay out, or {pacing.name}."
            )


def policy_with(options: EventOptions) -> Policy:
    """The policy that has these options, `TargetOptions` or fewer.

    Raises InvalidOption, naming the one that is wrong; TypeError for one that there isn't.
    """
    for name in options.keys() - TargetOptions.__optional_keys__:
        known = ", ".join(sorted(TargetOptions.__optional_keys__))
        raise TypeError(f"attemptable() has no option {name!r}; there are {known}.")
    given: dict[str, Any] = {**options}
    given |= {name: _seconds(given[name]) for name in TIMES if name in given}
    if "aliases" in given:
        given["aliases"] = _former_names(given["aliases"])
    return Policy(**given)


def _former_names(aliases: Iterable[str]) -> tuple[str, ...]:
    names = (aliases,) if isinstance(aliases, str) else tuple(aliases)
    for name in names:
        if "." not in name:
            raise InvalidOption(f"aliases: {name!r} must be a full dotted name.")
        require_public(name)
    return names


def _seconds(value: Any) -> Any:
    """Seconds for a timedelta or a whole number; what is neither, as it is, for `Policy`."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    # A bool is refused, too.
    return float(value) if type(value) is int else value


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and 0 <= value < float("inf")


def _is_period(value: object) -> bool:
    return isinstance(value, float) and 0 < value <= CENTURY


def _is_bool(value: object) -> bool:
    return isinstance(value, bool)


_RULES: Final[dict[str, tuple[str, Callable[[Any], bool]]]] = {
    "queue": ("a name", lambda v: isinstance(v, str)),
    "priority": (
        "a whole number from -100 to 100, or a name",
        lambda v: isinstance(v, str) or (_is_whole(v) and v in PRIORITY_RANGE),
    ),
    "delay": ("zero or more seconds or a timedelta", _is_finite),
    "expires_after": ("seconds or a timedelta, over zero", lambda v: _is_finite(v) and v > 0),
    "timeout": ("seconds or a timedelta, over zero", lambda v: _is_finite(v) and v > 0),
    "debounce": ("seconds or a timedelta, over zero", _is_period),
    "throttle": ("seconds or a timedelta, over zero", _is_period),
    "max_wait": ("seconds or a timedelta, over zero", _is_period),
    "adaptive": ("True or False", _is_bool),
    "limit_key": (
        "text, or a function that makes it of the arguments",
        lambda v: callable(v) or isinstance(v, str),
    ),
    "concurrency": (
        f"a whole number from 1 to {MOST_AT_ONCE}",
        lambda v: _is_whole(v) and 1 <= v <= MOST_AT_ONCE,
    ),
    "max_attempts": ("a whole number, 1 or more", lambda v: _is_whole(v) and v >= 1),
    "backoff": ("a Backoff", lambda v: isinstance(v, Backoff)),
    "atomic": ("True or False", _is_bool),
    "keep_result": ("True or False", _is_bool),
}
