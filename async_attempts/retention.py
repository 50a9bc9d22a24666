"""For how long ended attempts are kept: by age, by count, and in each queue as it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

from .exceptions import InvalidSetting

LONGEST: Final = timedelta(days=36_525).total_seconds()
LIMITS: Final = ("age", "count")


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept of one final status: what is both young and new enough.

    `age`: seconds since it ended; None is for ever, 0 not at all. `count`: of a queue the newest
    so many; None is any number.
    """

    age: float | None = None
    count: int | None = None

    @property
    def is_nothing(self) -> bool:
        """True if the next pruning deletes whatever has ended so."""
        return self.age == 0


FOR_EVER: Final = Keep()
DEFAULT: Final[Mapping[str, Keep]] = MappingProxyType(
    {
        "succeeded": Keep(timedelta(days=7).total_seconds()),
        "expired": Keep(timedelta(days=30).total_seconds()),
        "failed": FOR_EVER,
    }
)


class Retention:
    """What is kept in each queue: what it says itself, else what is said for all.

    A status of which nothing is said is kept for ever.
    """

    def __init__(
        self,
        general: Mapping[str, Keep],
        by_queue: Mapping[str, Mapping[str, Keep]] = MappingProxyType({}),
    ) -> None:
        self.general = general
        self.by_queue = {queue: {**general, **own} for queue, own in by_queue.items()}
        self.is_to_be_pruned_soon = any(keep.is_nothing for *_, keep in self.each())
        """True if a queue keeps nothing of a status."""

    def of(self, queue: str) -> Mapping[str, Keep]:
        """What is kept in this queue, by status."""
        return self.by_queue.get(queue, self.general)

    def each(self) -> Iterator[tuple[str | None, str, Keep]]:
        """What is said: queue (None is every other), status, and what is kept."""
        for status, keep in self.general.items():
            yield None, status, keep
        for queue, own in self.by_queue.items():
            for status, keep in own.items():
                yield queue, status, keep


def read_keep(place: str, value: Any) -> Mapping[str, Keep]:
    """What the setting at `place` says of each final status. Raises InvalidSetting, naming it."""
    if not isinstance(value, Mapping):
        raise InvalidSetting(
            f"{place} must be a dict of final statuses to what is kept of them, such as "
            f"{{'succeeded': 3600}}, not {value!r}."
        )
    for status in value:
        if status not in DEFAULT:
            raise InvalidSetting(
                f"{place}[{status!r}] is no final status; known are "
                f"{', '.join(map(repr, sorted(DEFAULT)))}."
            )
    return MappingProxyType(
        {status: _keep(f"{place}[{status!r}]", status, given) for status, given in value.items()}
    )


def _keep(place: str, status: str, value: Any) -> Keep:
    if not isinstance(value, Mapping):
        return Keep(_age(place, status, value))
    for limit in value:
        if limit not in LIMITS:
            raise InvalidSetting(f"{place}[{limit!r}] is unknown; known are 'age' and 'count'.")
    if not value:
        raise InvalidSetting(f"{place} must have an 'age', a 'count' or both; None is for ever.")
    age = _age(f"{place}['age']", status, value.get("age"))
    return Keep(age, _count(f"{place}['count']", value.get("count")))


def _age(place: str, status: str, value: Any) -> float | None:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is None:
        return None
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if is_number and seconds == 0 and status != "succeeded":
        raise InvalidSetting(
            f"{place} must be more than 0: people have to see what {status}. Only 'succeeded' may "
            "be 0, and is deleted by the next pruning."
        )
    if not is_number or not 0 <= seconds <= LONGEST:
        raise InvalidSetting(
            f"{place} must be seconds or a timedelta, at most a hundred years, or None for ever, "
            f"not {value!r}."
        )
    return float(seconds)


def _count(place: str, value: Any) -> int | None:
    if value is None or (type(value) is int and value >= 1):
        return value
    raise InvalidSetting(
        f"{place} must be a whole number, 1 or more, or None for any, not {value!r}."
    )
