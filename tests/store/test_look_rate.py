"""How many looks notifications may cause."""

from __future__ import annotations

import time

import pytest

from async_attempts.store.notifications import LOOK_BURST, LookRate


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still."""
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    return moment


def looks(rate: LookRate, moment: list[float], seconds: float) -> list[float]:
    """When it looks in this time, if it looks as soon as it may."""
    until, looked_at = moment[0] + seconds, []
    while moment[0] < until:
        if pause := rate.seconds:
            moment[0] += pause
        else:
            rate.take()
            looked_at.append(moment[0])
    return looked_at


def test_never_more_than_twenty_in_a_second(moment):
    looked_at = looks(LookRate(), moment, 10)
    assert len(looked_at) > 160
    assert max(sum(a <= b < a + 1 for b in looked_at) for a in looked_at) <= 20


def test_after_the_first_few_each_waits_for_some_milliseconds(moment):
    rate = LookRate()
    for _ in range(LOOK_BURST):
        assert rate.seconds == 0.0
        rate.take()
    assert 0.05 <= rate.seconds <= 0.065


def test_one_that_found_something_makes_room_for_more(moment):
    rate = LookRate()
    looks(rate, moment, 1)
    rate.take()
    rate.found()
    for _ in range(LOOK_BURST):
        assert rate.seconds == 0.0
        rate.take()
