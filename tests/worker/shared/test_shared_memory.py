"""The state that a child writes to shared memory outlives it, whatever ends it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from uuid import uuid4

from async_attempts.worker.shared.fork import die_with_parent, fork
from async_attempts.worker.shared.shared_memory import MOST_MISSING, Begun, ChildState, now


def done_by_a_child(work: Callable[[], object]) -> None:
    """Let a forked process do it, which dies by SIGKILL at once."""

    def die() -> int:
        work()
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    _, status = os.waitpid(fork(die), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def test_what_had_begun_is_known_after_the_childs_death():
    state = ChildState(3)
    first, second, third, worker_id = (uuid4() for _ in range(4))

    def live() -> None:
        state.set_worker(worker_id)
        recorded = state.begin(first.bytes, 1, 5.0)
        ended = state.begin(second.bytes, 2, 6.0)
        state.begin(third.bytes, 2**40, 7.0)
        assert recorded is not None
        assert ended is not None
        state.recorded(recorded)
        state.move(ended, 0.0)
        state.tick(performed=12, in_flight=3)
        state.suspects_seen_at = 99.5

    done_by_a_child(live)
    assert list(state.begun()) == [Begun(second, 2, 0.0), Begun(third, 2**40, 7.0)]
    assert (state.worker_id, state.performed, state.in_flight) == (
        worker_id,
        12,
        3,
    )
    assert state.suspects_seen_at == 99.5
    assert 0 < state.ticked_at <= now()


def test_a_page_that_was_cleared_says_nothing_of_the_last_child():
    state = ChildState(1)

    def live() -> None:
        state.set_worker(uuid4())
        state.begin(uuid4().bytes, 1, 5.0)
        state.tick(1, 1)

    done_by_a_child(live)
    state.ask_to_stop()
    state.clear(now())
    assert list(state.begun()) == []
    assert (
        state.worker_id,
        state.ticked_at,
        state.in_flight,
        state.is_to_stop,
    ) == (None, 0, 0, False)
    attempt_id = uuid4()
    done_by_a_child(lambda: state.begin(attempt_id.bytes, 3, 1.0))
    assert list(state.begun()) == [Begun(attempt_id, 3, 1.0)]


def test_the_place_of_what_was_recorded_is_free_again():
    state = ChildState(2)
    for _ in range(5):
        offset = state.begin(uuid4().bytes, 1, 1.0)
        assert offset is not None
        state.recorded(offset)
    assert list(state.begun()) == []


def test_a_full_page_says_so_and_keeps_what_it_has():
    state = ChildState(1)
    attempt_id = uuid4()
    state.begin(attempt_id.bytes, 1, 1.0)
    assert state.begin(uuid4().bytes, 1, 1.0) is None
    assert list(state.begun()) == [Begun(attempt_id, 1, 1.0)]


def test_what_the_supervisor_says_reaches_the_child():
    state = ChildState(1)
    mine, other = uuid4(), uuid4()
    state.lose(mine)
    state.holds_until = 99.5
    state.ask_to_stop()

    def live() -> None:
        said = (
            state.holds_until,
            state.has_lost(mine),
            state.has_lost(other),
            state.is_to_stop,
        )
        state.tick(performed=int(said == (99.5, True, False, True)), in_flight=0)

    done_by_a_child(live)
    assert state.performed == 1


def test_what_is_read_while_the_child_writes_it_is_never_half_written():
    state = ChildState(1)
    state.tick(performed=1, in_flight=1)

    def tick_for_ever() -> int:
        die_with_parent(signal.SIGKILL)
        while True:
            state.tick(performed=1, in_flight=1)
            offset = state.begin(uuid4().bytes, 1, now() + 60)
            assert offset is not None
            state.move(offset, 0.0)
            state.recorded(offset)

    child = fork(tick_for_ever)
    try:
        for _ in range(50_000):
            assert state.ticked_at
            assert state.performed == 1
            assert not any(0 < begun.deadline <= now() for begun in state.begun())
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_what_a_child_could_not_open_is_counted_by_key():
    state = ChildState(1)

    def live() -> None:
        for _ in range(3):
            state.count_missing_key("1a2b3c4d")
        state.count_missing_key("none")
        state.count_missing_key("arn:aws:kms:eu-central-1:é")

    done_by_a_child(live)
    assert state.missing_keys() == {"1a2b3c4d": 3, "none": 1, "arn:aws:kms:eu-central-1": 1}
    assert not list(state.begun())
    state.clear(now())
    assert state.missing_keys() == {}


def test_whoever_makes_up_keys_is_counted_and_writes_over_nothing():
    state = ChildState(1)
    state.begin(uuid4().bytes, 1, 5.0)
    before = list(state.begun())
    for number in range(10 * MOST_MISSING):
        state.count_missing_key(f"{number:08x}")
    counted = state.missing_keys()
    assert len(counted) == MOST_MISSING
    assert sum(counted.values()) == 10 * MOST_MISSING
    assert counted["others"] == 9 * MOST_MISSING + 1
    assert list(state.begun()) == before
