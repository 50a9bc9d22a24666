"""Cron: the moments at which a schedule is due, across changes to and from summer time.

croniter reads the expressions and computes local times without such changes; the rules for the
changes are here, as in Vixie cron. An expression whose minute or hour is a wildcard (`*`, `*/n`)
has a rhythm: it is due at each instant whose local time matches. Any other names times of day, each
due once a day: a time that is skipped as clocks go forward at the first instant after the gap, a
time that occurs twice the first time only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from croniter import CroniterBadDateError, CroniterError, croniter

from .exceptions import InvalidOption
from .suggestions import most_like

FIELDS: Final = (5, 6)
SECOND: Final = timedelta(seconds=1)
FIRST_STEP_BACK: Final = timedelta(minutes=1)

_WILDCARD: Final = re.compile(r"(?:^|,)\*")
_HASHED: Final = re.compile(r"(?:^|[\s,])[hr](?![a-z])", re.IGNORECASE)
_SOME_DAY: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock has no zone


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a timezone.

    `expression`: five fields, six with seconds last, or `@hourly`, `@daily`, `@weekly`,
    `@monthly`, `@yearly`. `timezone`: a name such as "Europe/Berlin". Raises InvalidOption, naming
    `cron` or `timezone`.
    """

    expression: str
    timezone: str = "UTC"
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)
    _has_rhythm: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_zone", _zone_named(self.timezone))
        minute, hour = _fields(self.expression)[:2]
        has_rhythm = any(_WILDCARD.search(each) for each in (minute, hour))
        object.__setattr__(self, "_has_rhythm", has_rhythm)

    def after(self, moment: datetime) -> datetime:
        """Return the first tick after an aware `moment`, in UTC."""
        if moment.tzinfo is None:
            raise InvalidOption("moment: the datetime is naive; give it a timezone.")
        here = moment.astimezone(self._zone).replace(microsecond=0)
        return self._next_of_rhythm(here) if self._has_rhythm else self._next_time_of_day(here)

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last tick after `after` and not after `until`, or None."""
        step, tick = FIRST_STEP_BACK, until
        while True:
            start = max(after, until - step)
            tick = self.after(start)
            if tick <= until:
                break
            if start == after:
                return None
            step *= 4
        beyond = until
        while (following := self.after(tick)) <= until:
            middle = following + (beyond - following) / 2
            found = self.after(middle)
            if found <= until:
                tick = found
            else:
                tick, beyond = following, middle
        return tick

    def upcoming(self, number: int, after: datetime) -> list[datetime]:
        """Return the next `number` ticks after an aware moment, in UTC."""
        return list(islice(self._all_after(after), number))

    def _all_after(self, moment: datetime) -> Iterator[datetime]:
        while True:
            moment = self.after(moment)
            yield moment

    def _next_time_of_day(self, here: datetime) -> datetime:
        wall = here.replace(tzinfo=None, fold=0)
        if here.fold and (change := self._change_at(wall)):
            # All that the wall shows for the second time was due at the first.
            wall = change.end - SECOND
        wall = self._next_on_wall(wall)
        if (change := self._change_at(wall)) and change.is_gap:
            return change.instant
        return self._instant(wall)

    def _next_of_rhythm(self, here: datetime) -> datetime:
        wall, is_second_time = here.replace(tzinfo=None, fold=0), bool(here.fold)
        change = self._change_at(wall)
        if change and not is_second_time:
            following = self._next_on_wall(wall)
            if following < change.end:
                return self._instant(following)
            # The clock goes back: what it has shown is shown again.
            wall, is_second_time = change.start - SECOND, True
        while True:
            wall = self._next_on_wall(wall)
            found = self._change_at(wall)
            if found is None:
                return self._instant(wall)
            if not found.is_gap:
                return self._instant(wall, is_second_time and found == change)
            wall = found.end - SECOND

    def _next_on_wall(self, wall: datetime) -> datetime:
        found: datetime = croniter(self.expression, wall).get_next(datetime)
        return found

    def _instant(self, wall: datetime, is_second_time: bool = False) -> datetime:
        return wall.replace(tzinfo=self._zone, fold=is_second_time).astimezone(UTC)

    def _change_at(self, wall: datetime) -> _Change | None:
        """Return the clock change by which a local time occurs twice or never, or None."""
        there = wall.replace(tzinfo=self._zone)
        before, after = _offset(there), _offset(there.replace(fold=1))
        if before == after:
            return None
        low, high = sorted((wall - before, wall - after))
        while high - low > SECOND:
            middle = low + timedelta(seconds=(high - low) // SECOND // 2)
            if _offset(middle.replace(tzinfo=UTC).astimezone(self._zone)) == before:
                low = middle
            else:
                high = middle
        start, end = sorted((high + before, high + after))
        return _Change(high.replace(tzinfo=UTC), start, end, is_gap=after > before)


class _Change(NamedTuple):
    """A change of the local clock at `instant`.

    The local times from `start` to before `end` occur never (a gap) or twice.
    """

    instant: datetime
    start: datetime
    end: datetime
    is_gap: bool


def _offset(moment: datetime) -> timedelta:
    return moment.utcoffset() or timedelta()


def _zone_named(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, TypeError, ValueError):
        # A directory of names is an OSError, and what could lead out of them a ValueError.
        near = most_like(str(name), available_timezones())
        remedy = f"did you mean {near!r}?" if near else "such as 'Europe/Berlin'."
        raise InvalidOption(f"timezone: {name!r} is not the name of one; {remedy}") from None


def _fields(expression: str) -> list[str]:
    """Return minute, hour, day, month, day of week and, if given, second."""
    if not isinstance(expression, str):
        raise InvalidOption(f"cron: must be a string such as '0 2 * * *', not {expression!r}.")
    if _HASHED.search(expression):
        raise InvalidOption(f"cron: {expression!r}: H and R have no fixed times; write numbers.")
    try:
        parsed = croniter(expression, _SOME_DAY)
    except CroniterError as error:
        raise InvalidOption(
            f"cron: {expression!r} can't be read ({str(error).rstrip('.')}); write minute, hour, "
            "day, month, day of week and, if wanted, second, such as '0 2 * * *', or '@daily'."
        ) from None
    if len(parsed.expressions) not in FIELDS:
        raise InvalidOption(
            f"cron: {expression!r} has {len(parsed.expressions)} fields; write five, or six with "
            "seconds last."
        )
    try:
        parsed.get_next(datetime)
    except CroniterBadDateError:
        raise InvalidOption(
            f"cron: {expression!r} names a day that no year has; write one that comes."
        ) from None
    return list(parsed.expressions)
