"""What the options of a queue say of it: how many at once, how often, and how many may wait."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from .exceptions import InvalidSetting
from .retention import read_keep
from .suggestions import refuse_unknown
from .values import flag, whole

SECONDS_OF: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BURST_SECONDS: Final = 0.1
MOST_AT_ONCE: Final = 10_000
"""A claim of a queue that is limited looks at all of its places."""

_RATE: Final = re.compile(r"(\d+)/(?:(s|m|h|d)|(sec|second|min|minute|hour|day))", re.ASCII)


class Rate(NamedTuple):
    """So many in so many seconds."""

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
        """How many may begin together if nothing is said: what a tenth of a second brings."""
        return max(1, int(self.per_second * BURST_SECONDS))


class Bucket(NamedTuple):
    """A token bucket: it fills evenly, up to `burst` (as in RFC 2697, with a single rate)."""

    per_second: float
    burst: int

    def filled(self, tokens: float, seconds: float) -> float:
        """The tokens so many seconds after there were `tokens`."""
        return min(float(self.burst), tokens + max(0.0, seconds) * self.per_second)

    def seconds(self, tokens: float) -> float:
        """Until there is a whole one, with so many now."""
        return max(0.0, 1 - tokens) / self.per_second


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one queue; None is none.

    `concurrency`: how many of its attempts run at once, over all workers. `rate`, `burst`: a token
    bucket; in any time t at most burst + t * rate executions begin. `max_pending`: how many may be
    due and not ended before enqueueing raises QueueFull. `paused`: whether it begins so.
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
        """Whether a claim has to ask for more than what is due."""
        return self.concurrency is not None or self.rate is not None

    @property
    def bucket(self) -> Bucket | None:
        """What counts its executions, if it has a rate."""
        return None if self.rate is None else Bucket(self.rate.per_second, self.burst)


UNLIMITED: Final = Limits()


def limits_of(options: Mapping[str, Any]) -> Limits:
    """The limits among a queue's options, which were read."""
    rate = options.get("rate")
    return Limits(
        concurrency=options.get("concurrency"),
        rate=rate,
        burst=options.get("burst", rate.usual_burst if rate else 1),
        max_pending=options.get("max_pending"),
        paused=options.get("paused", False),
    )


def read_queue(place: str, options: Any) -> Mapping[str, Any]:
    """A queue's options, checked. Raises InvalidSetting, naming the option and the remedy."""
    if not isinstance(options, Mapping):
        raise InvalidSetting(f"{place} must be a dict, not {options!r}.")
    refuse_unknown(place, options, QUEUE_OPTIONS)
    if "burst" in options and "rate" not in options:
        raise InvalidSetting(f"{place}['burst'] belongs to a rate; say 'rate' with it.")
    read = {name: QUEUE_OPTIONS[name](f"{place}[{name!r}]", o) for name, o in options.items()}
    return MappingProxyType(read)


def _rate(place: str, value: Any) -> Rate:
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not int(found[1]):
        raise InvalidSetting(
            f'{place} must be a count and a unit of time, s, m, h or d, as "100/m", not {value!r}.'
        )
    return Rate(int(found[1]), SECONDS_OF[(found[2] or found[3])[0]])


def _count(place: str, value: Any) -> int:
    return whole(place, value, InvalidSetting)


def _concurrency(place: str, value: Any) -> int:
    if _count(place, value) > MOST_AT_ONCE:
        raise InvalidSetting(f"{place} must be at most {MOST_AT_ONCE}, not {value}.")
    return int(value)


def _flag(place: str, value: Any) -> bool:
    return flag(place, value, InvalidSetting)


def _as_it_is(_place: str, value: Any) -> Any:
    return value


QUEUE_OPTIONS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "concurrency": _concurrency,
    "rate": _rate,
    "burst": _count,
    "max_pending": _count,
    "paused": _flag,
    "relay": _as_it_is,
    "keep": read_keep,
}
"""What reads each option of a queue."""
