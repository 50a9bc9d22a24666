"""Retention: how long ended attempts are kept, by age and by count, in each queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from .exceptions import InvalidSetting
from .suggestions import refuse_unknown
from .values import DAY, seconds, whole

AGE: Final = "seconds or a timedelta, at most a hundred years, or None for ever"
LIMITS: Final = ("age", "count")


@dataclass(frozen=True, slots=True)
class Keep:
    """The rule for one final status: an attempt is kept while both `age` and `count` allow it.

    `age`: seconds since it ended; None is for ever, 0 not at all. `count`: the number of the
    newest attempts of a queue; None is any number.
    """

    age: float | None = None
    count: int | None = None

    @property
    def is_nothing(self) -> bool:
        """True if the next pruning deletes whatever has ended so."""
        return self.age == 0


FOR_EVER: Final = Keep()
DEFAULT: Final[Mapping[str, Keep]] = MappingProxyType(
    {"succeeded": Keep(7 * DAY), "expired": Keep(30 * DAY), "failed": FOR_EVER}
)


class Retention:
    """The rules of each queue: its own, else the general ones.

    A status without a rule is kept for ever.
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
        """Return the rules of this queue, by status."""
        return self.by_queue.get(queue, self.general)

    def each(self) -> Iterator[tuple[str | None, str, Keep]]:
        """Yield all rules as (queue, status, rule); the queue None is every other."""
        for status, keep in self.general.items():
            yield None, status, keep
        for queue, own in self.by_queue.items():
            for status, keep in own.items():
                yield queue, status, keep


def read_keep(path: str, value: Any) -> Mapping[str, Keep]:
    """Return the rules in the setting at `path`, by final status. Raises InvalidSetting."""
    if not isinstance(value, Mapping):
        raise InvalidSetting(
            f"{path} must be a dict of final statuses to what is kept of them, such as "
            f"{{'succeeded': 3600}}, not {value!r}."
        )
    for status in value:
        if status not in DEFAULT:
            raise InvalidSetting(
                f"{path}[{status!r}] is no final status; known are "
                f"{', '.join(map(repr, sorted(DEFAULT)))}."
            )
    return MappingProxyType(
        {status: _keep(f"{path}[{status!r}]", status, given) for status, given in value.items()}
    )


def _keep(path: str, status: str, value: Any) -> Keep:
    if not isinstance(value, Mapping):
        return Keep(_age(path, status, value))
    refuse_unknown(path, value, LIMITS, InvalidSetting)
    if not value:
        raise InvalidSetting(f"{path} must have an 'age', a 'count' or both; None is for ever.")
    age = _age(f"{path}['age']", status, value.get("age"))
    return Keep(age, _count(f"{path}['count']", value.get("count")))


def _age(path: str, status: str, value: Any) -> float | None:
    if value is None:
        return None
    age = seconds(path, value, InvalidSetting, AGE, may_be_zero=True)
    if age == 0 and status != "succeeded":
        raise InvalidSetting(
            f"{path} must be more than 0: people have to see what {status}. Only 'succeeded' may "
            "be 0, and is deleted by the next pruning."
        )
    return age


def _count(path: str, value: Any) -> int | None:
    expected = "a whole number, 1 or more, or None for any"
    return None if value is None else whole(path, value, InvalidSetting, expected)
