"""Intervals: ticks that neither drift nor depend on when somebody looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_attempts.exceptions import InvalidOption
from async_attempts.intervals import MOST_SECONDS, Interval, interval_of

ANCHOR = datetime(2026, 3, 1, 10, 0, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

intervals = st.integers(1, MOST_SECONDS).map(lambda n: Interval(timedelta(seconds=n), ANCHOR))
moments = st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_the_first_tick_is_one_interval_after_the_anchor():
    interval = Interval(90 * MINUTE, ANCHOR)
    for moment in (ANCHOR - timedelta(days=400), ANCHOR - MINUTE, ANCHOR, ANCHOR + 89 * MINUTE):
        assert interval.after(moment) == ANCHOR + 90 * MINUTE
    assert interval.after(ANCHOR + 90 * MINUTE) == ANCHOR + 180 * MINUTE


def test_upcoming_ticks_are_apart_by_the_interval():
    ticks = Interval(90 * MINUTE, ANCHOR).upcoming(3, ANCHOR)
    assert ticks == [ANCHOR + number * 90 * MINUTE for number in (1, 2, 3)]


@given(intervals, moments)
def test_the_tick_after_a_moment_is_the_first_one(interval, moment):
    tick = interval.after(moment)
    assert tick > moment
    assert (tick - ANCHOR) % interval.every == timedelta(0)
    assert tick - interval.every <= max(moment, ANCHOR)


@given(intervals, moments, moments)
def test_the_latest_tick_is_the_last_one_in_between(interval, one, other):
    after, until = sorted((one, other))
    tick = interval.latest(after, until)
    if tick is None:
        assert interval.after(after) > until
    else:
        assert after < tick <= until < interval.after(tick)


def test_a_naive_moment_is_refused():
    with pytest.raises(InvalidOption, match="naive"):
        Interval(MINUTE, ANCHOR).after(datetime(2026, 3, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("given_as", "seconds"),
    [(1, 1), (90.0, 90), (90 * MINUTE, 5400), (timedelta(days=3652), 3652 * 86_400)],
)
def test_an_interval_is_whole_seconds(given_as, seconds):
    assert interval_of(given_as) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "wrong",
    [0, -1, 0.5, 1.5, timedelta(milliseconds=1500), timedelta(days=3654), float("nan"), True, "60"],
)
def test_what_is_no_interval_is_refused(wrong):
    with pytest.raises(InvalidOption, match="every: must be whole seconds or a timedelta"):
        interval_of(wrong)
