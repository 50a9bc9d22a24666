"""The limits of a queue, as its options in the settings say: concurrency, rate and size."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .exceptions import InvalidSetting
from .queue_defaults import read_defaults
from .retention import read_keep
from .suggestions import refuse_unknown
from .values import flag, whole

SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BURST_SECONDS: Final = 0.1
MOST_AT_ONCE: Final = 10_000
"""A claim from a limited queue reads all slots of the queue."""

_RATE: Final = re.compile(r"(\d+)/(?:(s|m|h|d)|(sec|second|min|minute|hour|day))", re.ASCII)


class Rate(NamedTuple):
    """A number of executions in a number of seconds."""

    number: int
    seconds: int

    @property
    def per_second(self) -> float:
        return self.number / self.seconds

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in SECONDS_OF.items() if seconds == self.seconds)
        return f"{self.number}/{unit}"

    @property
    def usual_burst(self) -> int:
        """The default burst: the executions of a tenth of a second, 1 at least."""
        return max(1, int(self.per_second * BURST_SECONDS))


class Bucket(NamedTuple):
    """A token bucket: it fills evenly, up to `burst` (as in RFC 2697, with a single rate)."""

    per_second: float
    burst: int

    def filled(self, tokens: float, seconds: float) -> float:
        """Return the number of tokens `seconds` after there were `tokens`."""
        return min(float(self.burst), tokens + max(0.0, seconds) * self.per_second)

    def seconds(self, tokens: float) -> float:
        """Return the seconds until there is a whole token, with `tokens` now."""
        return max(0.0, 1 - tokens) / self.per_second


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one queue; None is none.

    `concurrency`: how many of its attempts run at once, over all workers. `rate`, `burst`: a token
    bucket; in any time t at most burst + t * rate executions begin. `max_pending`: how many may be
    due and not ended before enqueueing raises QueueFull. `paused`: True if it begins paused.
    """

    concurrency: int | None = None
    rate: Rate | None = None
    burst: int = 1
    max_pending: int | None = None
    paused: bool = False

    def __str__(self) -> str:
        said = []
        if self.concurrency is not None:
            said.append(f"{self.concurrency} at once")
        if self.rate is not None:
            said.append(f"{self.rate}, burst {self.burst}")
        if self.max_pending is not None:
            said.append(f"at most {self.max_pending} pending")
        return "; ".join(said)

    @property
    def of_claims(self) -> bool:
        """True if the limits hold back claims."""
        return self.concurrency is not None or self.rate is not None

    @property
    def bucket(self) -> Bucket | None:
        """The token bucket of its rate; None without a rate."""
        return None if self.rate is None else Bucket(self.rate.per_second, self.burst)


UNLIMITED: Final = Limits()


def limits_of(options: Mapping[str, Any]) -> Limits:
    """Return the limits among a queue's options, as `read_queue` returns them."""
    rate = options.get("rate")
    return Limits(
        concurrency=options.get("concurrency"),
        rate=rate,
        burst=options.get("burst", rate.usual_burst if rate else 1),
        max_pending=options.get("max_pending"),
        paused=options.get("paused", False),
    )


def read_queue(path: str, options: Any) -> Mapping[str, Any]:
    """Return a queue's options, checked. Raises InvalidSetting, naming the option."""
    if not isinstance(options, Mapping):
        raise InvalidSetting(f"{path} must be a dict, not {options!r}.")
    refuse_unknown(path, options, QUEUE_OPTIONS, InvalidSetting)
    if "burst" in options and "rate" not in options:
        raise InvalidSetting(f"{path}['burst'] belongs to a rate; say 'rate' with it.")
    read = {name: QUEUE_OPTIONS[name](f"{path}[{name!r}]", o) for name, o in options.items()}
    return MappingProxyType(read)


_count: Final = partial(whole, error=InvalidSetting)


def _rate(path: str, value: Any) -> Rate:
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not int(found[1]):
        raise InvalidSetting(
            f'{path} must be a count and a unit of time, s, m, h or d, as "100/m", not {value!r}.'
        )
    return Rate(int(found[1]), SECONDS_OF[(found[2] or found[3])[0]])


def _concurrency(path: str, value: Any) -> int:
    if (number := _count(path, value)) > MOST_AT_ONCE:
        raise InvalidSetting(f"{path} must be at most {MOST_AT_ONCE}, not {value}.")
    return number


QUEUE_OPTIONS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "concurrency": _concurrency,
    "rate": _rate,
    "burst": _count,
    "max_pending": _count,
    "paused": partial(flag, error=InvalidSetting),
    "relay": lambda _path, value: value,
    "keep": read_keep,
    "defaults": read_defaults,
}
"""The function that reads each option of a queue."""
