"""Pauses between tries."""

from __future__ import annotations

import pytest

from async_attempts.pauses import Pauses, jittered


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
