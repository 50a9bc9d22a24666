"""Intervals: the moments at which a schedule of each so many seconds is due.

They are counted from one fixed moment, not from the last tick: so they don't drift, and neither a
restart nor a late worker moves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

from .exceptions import InvalidOption
from .values import seconds_of

LEAST_SECONDS: Final = 1
MOST_SECONDS: Final = 3653 * 86_400
"""Ten years, three leap days included."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Interval:
    """The ticks of an interval, the first one of them one interval after the `anchor`.

    `every`: whole seconds as a timedelta. `anchor`: an aware datetime.
    """

    every: timedelta
    anchor: datetime = EPOCH

    def after(self, moment: datetime) -> datetime:
        """Return the first tick after an aware `moment`, in UTC."""
        if moment.tzinfo is None:
            raise InvalidOption("moment: the datetime is naive; give it a timezone.")
        return self._tick(max(self._number_at(moment), 0) + 1)

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last tick after `after` and not after `until`, or None."""
        number = self._number_at(until)
        tick = self._tick(number)
        return tick if number > 0 and tick > after else None

    def upcoming(self, number: int, after: datetime) -> list[datetime]:
        """Return the next `number` ticks after an aware moment, in UTC."""
        return list(islice(self._all_after(after), number))

    def _all_after(self, moment: datetime) -> Iterator[datetime]:
        while True:
            moment = self.after(moment)
            yield moment

    def _number_at(self, moment: datetime) -> int:
        return (moment - self.anchor) // self.every

    def _tick(self, number: int) -> datetime:
        return (self.anchor + number * self.every).astimezone(UTC)


def interval_of(value: Any) -> timedelta:
    """Return an interval that is given as whole seconds or as a timedelta. Raises InvalidOption."""
    seconds = seconds_of(value)
    if seconds is None or not LEAST_SECONDS <= seconds <= MOST_SECONDS or not seconds.is_integer():
        raise InvalidOption(
            "every: must be whole seconds or a timedelta of them, from 1 second to 10 years, not "
            f"{value!r}."
        )
    return timedelta(seconds=int(seconds))


def require_one(cron: Any, every: Any) -> None:
    """Raise InvalidOption unless exactly one of the two is given."""
    if cron not in (None, "") and every is not None:
        raise InvalidOption("every: a schedule has a cron or an interval; leave one of them out.")
    if cron is None and every is None:
        raise InvalidOption(
            "cron: must be given, such as '0 2 * * *', or else every, such as "
            "timedelta(minutes=90)."
        )
