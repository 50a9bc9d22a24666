"""Pauses between tries, and when an execution isn't tried again."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_attempts.backoff import Backoff
from async_attempts.exceptions import InvalidOption
from async_attempts.pauses import Pauses, jittered

DAY = 86_400


def delays(backoff: Backoff, count: int = 5) -> list[float]:
    return [backoff.delay(number) for number in range(1, count + 1)]


def test_by_default_the_first_delay_is_15_to_30_seconds():
    drawn = [Backoff().delay(1) for _ in range(500)]
    assert 15 <= min(drawn) < 17
    assert 28 < max(drawn) <= 30


def test_without_jitter_an_exponential_delay_doubles():
    assert delays(Backoff(jitter=False)) == [30, 60, 120, 240, 480]


def test_the_factor_is_what_an_exponential_delay_grows_by():
    assert delays(Backoff.exponential(1, factor=3, jitter=False)) == [1, 3, 9, 27, 81]


def test_a_linear_delay_grows_by_the_first():
    assert delays(Backoff.linear(10, jitter=False)) == [10, 20, 30, 40, 50]


def test_a_fixed_delay_stays_and_has_no_jitter():
    assert delays(Backoff.fixed(7)) == [7] * 5


def test_a_fixed_delay_has_jitter_when_asked_for():
    drawn = {Backoff.fixed(10, jitter=True).delay(1) for _ in range(50)}
    assert len(drawn) > 1
    assert all(5 <= delay <= 10 for delay in drawn)


@pytest.mark.parametrize("make", [Backoff.exponential, Backoff.linear, Backoff.fixed])
def test_the_first_delay_may_be_a_timedelta(make: Any):
    assert make(timedelta(minutes=2), jitter=False).delay(1) == 120


def test_the_cap_may_be_a_timedelta():
    assert Backoff(cap=timedelta(minutes=1), jitter=False).delay(9) == 60


@pytest.mark.parametrize("number", [13, 2_000, 10**9])
def test_no_delay_is_longer_than_a_day_by_default_however_many_executions_there_were(number: int):
    assert Backoff(jitter=False).delay(number) == DAY
    assert Backoff.linear(jitter=False).delay(10**9) == DAY
    assert DAY / 2 <= Backoff().delay(number) <= DAY


def test_no_first_delay_means_no_delay_however_many_executions_there_were():
    assert delays(Backoff(first=0)) == [0] * 5
    assert Backoff(first=0).delay(10_000) == 0


@given(
    shape=st.sampled_from(["exponential", "linear", "fixed"]),
    first=st.floats(0, 1e9),
    factor=st.floats(1, 100),
    cap=st.floats(0, 1e9),
    number=st.integers(1, 10_000),
)
def test_jitter_is_the_upper_half_of_the_delay_without_it(
    shape: Any, first: float, factor: float, cap: float, number: int
):
    backoff = Backoff(shape=shape, first=first, factor=factor, cap=cap)
    full = dataclasses.replace(backoff, jitter=False).delay(number)
    assert 0 <= full <= cap
    assert full / 2 <= backoff.delay(number) <= full


def test_every_exception_is_retried_by_default():
    assert not Backoff().gives_up_on(ValueError())
    assert not Backoff().gives_up_on(SystemExit())


def test_only_what_retry_on_names_is_retried_subclasses_too():
    backoff = Backoff(retry_on=(OSError,))
    assert not backoff.gives_up_on(ConnectionResetError())
    assert backoff.gives_up_on(ValueError())


def test_give_up_on_wins_over_retry_on():
    backoff = Backoff(retry_on=(OSError,), give_up_on=(FileNotFoundError,))
    assert not backoff.gives_up_on(OSError())
    assert backoff.gives_up_on(FileNotFoundError())


@pytest.mark.parametrize("types", [OSError, [OSError], {OSError}])
def test_exception_types_may_be_one_or_several(types: Any):
    assert Backoff(give_up_on=types).gives_up_on(OSError())
    assert not Backoff(retry_on=types).gives_up_on(OSError())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("first", -1),
        ("first", float("nan")),
        ("first", float("inf")),
        ("first", "soon"),
        ("first", None),
        ("first", timedelta(seconds=-1)),
        ("cap", -1),
        ("cap", float("inf")),
        ("cap", None),
        ("shape", "quadratic"),
        ("factor", 0.5),
        ("factor", float("nan")),
        ("factor", float("inf")),
        ("factor", "2"),
        ("max_attempts", 0),
        ("max_attempts", 2.5),
        ("max_attempts", "3"),
        ("max_attempts", True),
        ("retry_on", ("OSError",)),
        ("retry_on", None),
        ("retry_on", int),
        ("give_up_on", OSError()),
        ("give_up_on", [ValueError, "OSError"]),
    ],
)
def test_a_value_that_makes_no_delay_is_refused_by_its_name(option: str, value: Any):
    with pytest.raises(InvalidOption, match=option):
        Backoff(**{option: value})


def test_it_can_not_be_changed():
    frozen: Any = Backoff()
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.first = 1


def test_each_is_twice_as_long_up_to_the_longest():
    pauses = Pauses(0.5, 3.0, jitter=0)
    assert [pauses.next() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_they_begin_again_after_a_success():
    pauses = Pauses(0.5, 3.0, jitter=0)
    assert list(pauses.take(2)) == [0.5, 1.0]
    pauses.reset()
    assert pauses.next() == 0.5


def test_they_grow_as_they_are_told():
    assert list(Pauses(2.0, 9.0, growth=1.5, jitter=0).take(4)) == [2.0, 3.0, 4.5, 6.75]
    assert list(Pauses(2.0, 9.0, growth=1, jitter=0).take(3)) == [2.0, 2.0, 2.0]


def test_not_even_the_first_is_longer_than_the_longest():
    assert list(Pauses(5.0, 2.0, jitter=0).take(2)) == [2.0, 2.0]


@pytest.mark.parametrize(("share", "least"), [(0.5, 5.0), (1, 0.0), (0.1, 9.0)])
def test_a_share_of_it_is_random(share, least):
    found = {jittered(10.0, share) for _ in range(200)}
    assert len(found) > 100
    assert min(found) >= least
    assert max(found) <= 10.0
    assert max(found) - min(found) > (10.0 - least) / 2


def test_jitter_does_not_slow_the_growth():
    pauses = Pauses(1.0, 100.0)
    for number in range(8):
        most = min(2.0**number, 100.0)
        assert most / 2 <= pauses.next() <= most


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("give_up_after", 0),
        ("give_up_after", -1),
        ("give_up_after", "1h"),
        ("queue", 7),
        ("priority", 101),
        ("priority", 1.5),
        ("priority", True),
        ("after", 7),
    ],
)
def test_what_says_when_and_where_is_checked_and_named(option, wrong):
    with pytest.raises(InvalidOption, match=rf"^Backoff: {option} must be"):
        Backoff(**{option: wrong})


def test_every_shape_takes_what_says_when_and_where():
    def after(error: Exception) -> None: ...

    more: Any = {
        "give_up_after": timedelta(hours=1),
        "queue": "q",
        "priority": "low",
        "after": after,
    }
    for make in (Backoff.exponential, Backoff.linear, Backoff.fixed):
        made = make(5, **more)
        assert (made.give_up_after, made.queue, made.priority) == (3600.0, "q", "low")
        assert made.after is after
