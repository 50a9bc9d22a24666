"""For how long ended attempts are kept: by age, by count, and in each queue as it says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from .exceptions import InvalidSetting
from .values import DAY, seconds, whole

AGE: Final = "seconds or a timedelta, at most a hundred years, or None for ever"
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
    def deletes_at_once(self) -> bool:
        """Whether nothing is kept at all."""
        return self.age == 0


FOR_EVER: Final = Keep()
DEFAULT: Final[Mapping[str, Keep]] = MappingProxyType(
    {
        "succeeded": Keep(7 * DAY),
        "expired": Keep(30 * DAY),
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
        self.deletes_successes = any(
            status == "succeeded" and keep.deletes_at_once for _, status, keep in self.each()
        )
        """Whether any queue does: all that the others pay for it is to look here."""
        self.counts = any(keep.count is not None for *_, keep in self.each())
        """Whether something is kept by count."""

    def of(self, queue: str) -> Mapping[str, Keep]:
        """What is kept in this queue, by status."""
        return self.by_queue.get(queue, self.general)

    def deletes_success_in(self, queue: str) -> bool:
        """Whether an attempt of this queue is deleted when it succeeds."""
        return self.of(queue).get("succeeded", FOR_EVER).deletes_at_once

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
    if value is None:
        return None
    age = seconds(place, value, InvalidSetting, AGE, may_be_zero=True)
    if age == 0 and status != "succeeded":
        raise InvalidSetting(
            f"{place} must be more than 0: people have to see what {status}. Only 'succeeded' may "
            "be 0, and is deleted at once."
        )
    return age


def _count(place: str, value: Any) -> int | None:
    expected = "a whole number, 1 or more, or None for any"
    return None if value is None else whole(place, value, InvalidSetting, expected)
