"""How many a worker claims at once follows what its targets take."""

from __future__ import annotations

from typing import Final

import pytest

from async_attempts.worker.loop import batch_size as batches
from async_attempts.worker.loop.batch_size import BATCH_SECONDS, GROWTH, BatchSize

MOST: Final = 500
PERFORMERS: Final = 4


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.progress = 0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(batches, "now", clock)
    return clock


def ended(size: BatchSize, clock: Clock, executions: int, seconds: float) -> None:
    """So many executions end within so many seconds; then there is a claim."""
    clock.seconds += seconds
    clock.progress += executions
    size.learn(clock.progress)


def test_while_nothing_is_known_each_performer_gets_one(clock):
    size = BatchSize(MOST, PERFORMERS)
    size.learn(0)
    assert size.wanted(unbegun=0, idle=PERFORMERS) == PERFORMERS


def test_quick_targets_let_it_grow_step_by_step_to_the_most(clock):
    size = BatchSize(MOST, PERFORMERS)
    sizes = []
    for _ in range(6):
        ended(size, clock, executions=1_000_000, seconds=1)
        sizes.append(size.wanted(unbegun=0, idle=0))
    assert sizes == [16, 64, 256, MOST, MOST, MOST]


def test_it_is_what_fits_the_time_of_a_batch(clock):
    size = BatchSize(MOST, PERFORMERS)
    for _ in range(3):
        ended(size, clock, executions=1_000, seconds=1)
    assert size.wanted(unbegun=0, idle=0) == 1_000 * BATCH_SECONDS


def test_slow_targets_let_only_idle_performers_have_one(clock):
    size = BatchSize(MOST, PERFORMERS)
    ended(size, clock, executions=1_000_000, seconds=1)
    for _ in range(6):
        ended(size, clock, executions=2, seconds=1)
    assert [size.wanted(unbegun=0, idle=idle) for idle in (0, 3)] == [0, 3]


def test_the_time_in_which_there_was_nothing_to_do_does_not_count(clock):
    size = BatchSize(MOST, PERFORMERS)
    clock.seconds += 0.01
    size.idle()
    clock.seconds += 3600
    size.learn(10)
    assert size.wanted(unbegun=0, idle=0) == PERFORMERS * GROWTH


def test_nothing_more_is_claimed_while_more_than_half_wait_to_begin(clock):
    size = BatchSize(MOST, PERFORMERS)
    ended(size, clock, executions=1_000_000, seconds=1)
    assert [size.wanted(unbegun, idle=0) for unbegun in (0, 8, 9, 16)] == [16, 8, 0, 0]


def test_what_is_stuck_claims_for_idle_performers_until_something_has_ended(clock):
    size = BatchSize(MOST, PERFORMERS)
    ended(size, clock, executions=1_000_000, seconds=1)
    size.stuck()
    size.learn(clock.progress)
    assert [size.wanted(unbegun=0, idle=idle) for idle in (0, 1)] == [0, 1]
    ended(size, clock, executions=1_000_000, seconds=1)
    assert size.wanted(unbegun=0, idle=0) == PERFORMERS * GROWTH


@pytest.mark.parametrize("most", [1, 3])
def test_never_more_than_was_asked_for(clock, most):
    size = BatchSize(most, PERFORMERS)
    ended(size, clock, executions=1_000_000, seconds=1)
    assert size.wanted(unbegun=0, idle=PERFORMERS) == most
