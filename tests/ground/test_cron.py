"""Cron: what clocks that are put forward and back do to a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_attempts.cron import Cron
from async_attempts.exceptions import InvalidOption

BERLIN = "Europe/Berlin"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
TIMES_OF_DAY = {"30 1 * * *": {(1, 30)}, "5 0 * * *": {(0, 5)}}
TIMES_OF_DAY["0,15,59 0,2,3,23 * * *"] = {(h, m) for h in (0, 2, 3, 23) for m in (0, 15, 59)}
RHYTHMS = {"7 * * * *": (range(24), {7}), "*/20 1-2 * * *": ((1, 2), {0, 20, 40})}


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def ticks(expression: str, begin: datetime, number: int, timezone: str = BERLIN) -> list[str]:
    """As a clock on the wall shows them, with its offset."""
    zone = ZoneInfo(timezone)
    found = Cron(expression, timezone).upcoming(number, begin)
    return [tick.astimezone(zone).strftime("%d %H:%M:%S %z") for tick in found]


def test_a_time_that_does_not_exist_is_the_first_instant_after_the_gap():
    assert ticks("30 2 * * *", utc(2026, 3, 27, 12), 3) == [
        "28 02:30:00 +0100",
        "29 03:00:00 +0200",
        "30 02:30:00 +0200",
    ]


def test_several_times_that_do_not_exist_are_one_tick():
    assert ticks("0,30 2,3 * * *", utc(2026, 3, 28, 12), 3) == [
        "29 03:00:00 +0200",
        "29 03:30:00 +0200",
        "30 02:00:00 +0200",
    ]


def test_a_time_that_exists_twice_is_the_first_of_the_two():
    assert ticks("30 2 * * *", utc(2026, 10, 24, 12), 2) == [
        "25 02:30:00 +0200",
        "26 02:30:00 +0100",
    ]


def test_between_the_two_it_is_over():
    for minute in (0, 15, 29, 30, 45):
        assert Cron("30 2 * * *", BERLIN).after(utc(2026, 10, 25, 1, minute)) == utc(
            2026, 10, 26, 1, 30
        )


def test_every_hour_is_every_hour():
    for begin in (utc(2026, 10, 24, 20), utc(2026, 3, 28, 20)):
        found = Cron("@hourly", BERLIN).upcoming(12, begin)
        assert {later - tick for tick, later in pairwise(found)} == {HOUR}


def test_a_wildcard_minute_within_a_named_hour_follows_the_wall():
    assert ticks("*/30 2 * * *", utc(2026, 10, 24, 12), 4) == [
        "25 02:00:00 +0200",
        "25 02:30:00 +0200",
        "25 02:00:00 +0100",
        "25 02:30:00 +0100",
    ]
    assert ticks("*/30 2 * * *", utc(2026, 3, 28, 12), 1) == ["30 02:00:00 +0200"]


def test_seconds_come_last():
    assert ticks("0 2 * * * 10,50", utc(2026, 5, 1, 12), 2) == [
        "02 02:00:10 +0200",
        "02 02:00:50 +0200",
    ]


def test_a_day_that_a_zone_has_skipped_is_the_begin_of_the_next_one():
    assert ticks("0 12 * * *", utc(2011, 12, 29, 23), 2, "Pacific/Apia") == [
        "31 00:00:00 +1400",
        "31 12:00:00 +1400",
    ]


def test_a_tick_is_later_than_the_moment():
    cron = Cron("0 2 * * *")
    assert cron.after(utc(2026, 1, 1, 2)) == utc(2026, 1, 2, 2)
    assert cron.after(utc(2026, 1, 1, 2) - timedelta(microseconds=1)) == utc(2026, 1, 1, 2)


def changes_of(zone: ZoneInfo) -> Iterator[tuple[Any, ...]]:
    """When its clocks are put forward or back, and its offsets before and after."""
    low, before = BEGIN, BEGIN.astimezone(zone).utcoffset()
    for day in range(1, (END - BEGIN).days):
        high = BEGIN + DAY * day
        after = high.astimezone(zone).utcoffset()
        if after != before:
            changed = low
            while changed.astimezone(zone).utcoffset() == before:
                changed += MINUTE
            yield changed, before, after
        low, before = high, after


@pytest.mark.slow
def test_the_rules_hold_for_ten_years_in_every_zone():
    """Against a clock on the wall that is read each minute around each change."""
    seen = set()
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        for change in changes_of(zone):
            # All expressions here are for each day alike.
            kind = (change[0].time(), *change[1:])
            if kind in seen:
                continue
            seen.add(kind)
            instants = [change[0] + MINUTE * n for n in range(-200, 300)]
            wall = [instant.astimezone(zone).replace(tzinfo=None) for instant in instants]
            for expression, times in TIMES_OF_DAY.items():
                check(expression, name, instants, list(first_shown(instants, wall, times)))
            for expression, (hours, minutes) in RHYTHMS.items():
                shown = [
                    instant
                    for instant, here in zip(instants, wall, strict=True)
                    if here.hour in hours and here.minute in minutes
                ]
                check(expression, name, instants, shown)
    assert len(seen) > 60


def first_shown(instants, wall, times):
    """Each instant at which the wall first shows one of these times of day, or first passes it."""
    latest = wall[0]
    for instant, here in zip(instants, wall, strict=True):
        passed = (latest + MINUTE * n for n in range(1, max(0, (here - latest) // MINUTE) + 1))
        if any((one.hour, one.minute) in times for one in passed):
            yield instant
        latest = max(latest, here)


def check(expression, name, instants, expected):
    cron, found = Cron(expression, name), [instants[0]]
    while found[-1] <= instants[-1]:
        found.append(cron.after(found[-1]))
    expected = [one for one in expected if one > instants[0]]
    assert found[1:-1] == expected, (expression, name, instants[200])


EXPRESSIONS = st.sampled_from([*TIMES_OF_DAY, *RHYTHMS, "0 0 29 2 *", "0 9 * * mon#1", "* * * * *"])
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(EXPRESSIONS, st.sampled_from([BERLIN, "Australia/Lord_Howe", "UTC"]), MOMENTS, MOMENTS)
def test_the_latest_tick_is_followed_by_none_until_then(expression, zone, one, other):
    after, until = sorted((one, other))
    cron = Cron(expression, zone)
    tick = cron.latest(after, until)
    if tick is None:
        assert cron.after(after) > until
    else:
        assert after < tick <= until < cron.after(tick)
        assert cron.after(tick - timedelta(seconds=1)) == tick


@given(EXPRESSIONS, st.sampled_from([BERLIN, "America/Santiago"]), MOMENTS)
def test_no_tick_is_missed_and_none_comes_twice(expression, zone, moment):
    cron = Cron(expression, zone)
    found = cron.upcoming(3, moment)
    assert moment < found[0] < found[1] < found[2]
    assert cron.after(found[0] + (found[1] - found[0]) / 2) == found[1]


@pytest.mark.parametrize(
    ("expression", "timezone", "told"),
    [
        ("0 0 30 2 *", BERLIN, "cron: '0 0 30 2 .' names a day that no year has"),
        ("61 * * * *", BERLIN, "cron: .*out of range.*write minute"),
        ("* * * *", BERLIN, "cron: .*write minute"),
        ("0 0 * * * 0 2030", BERLIN, "cron: .* has 7 fields; write five"),
        ("H 2 * * *", BERLIN, "cron: .*no fixed times"),
        ("R 2 * * *", BERLIN, "cron: .*no fixed times"),
        ("@reboot", BERLIN, "cron: "),
        ("", BERLIN, "cron: "),
        (None, BERLIN, "cron: must be a string"),
        ("0 2 * * *", "Europe/Berln", r"timezone: 'Europe/Berln'.*did you mean 'Europe/Berlin'\?"),
        ("0 2 * * *", "America", "timezone: "),
        ("0 2 * * *", "../../etc/passwd", "timezone: .*such as 'Europe/Berlin'"),
        ("0 2 * * *", "", "timezone: "),
        ("0 2 * * *", None, "timezone: "),
    ],
)
def test_what_is_wrong_is_named(expression, timezone, told):
    with pytest.raises(InvalidOption, match=told):
        Cron(expression, timezone)


def test_a_naive_moment_is_refused():
    with pytest.raises(InvalidOption, match="moment: the datetime is naive"):
        Cron("0 2 * * *").after(datetime(2026, 1, 1))  # noqa: DTZ001
