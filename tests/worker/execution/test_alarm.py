"""The alarm belongs to whoever needs it, and who is told of a timeout is noted as such."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import pytest

from async_attempts.exceptions import AttemptTimeout
from async_attempts.worker.execution.timeouts import AlarmWatch, Deadline, ThreadWatch, Watch
from async_attempts.worker.processes.lease_renewal import TooSlow, at_most
from async_attempts.worker.shared.shared_memory import ChildState, now
from tests.shop import effects
from tests.worker.execution.test_timeouts import (
    SHORT,
    has_timed_out,
    loop_for_ever,
    spin,
    timekeeper,
)
from tests.worker.helpers.attempts import drain, enqueued, stored
from tests.worker.helpers.processes import PATIENCE

__all__ = ["timekeeper"]

here = pytest.mark.only("sqlite", reason="nothing is asked of the database")


def use_the_alarm(leaves: str) -> None:
    """As code does that limits itself by SIGALRM, the `timeout` of many a library."""
    previous = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(1)
    if leaves != "its timer":
        signal.alarm(0)
    if leaves != "its handler":
        signal.signal(signal.SIGALRM, previous)


@here
@pytest.mark.parametrize("leaves", ["nothing", "its timer", "its handler"])
def test_a_target_that_uses_the_alarm_takes_nobody_elses_timeout(database, acting, leaves):
    def act(*, late: bool) -> None:
        if late:
            spin(now() + 5)
        else:
            use_the_alarm(leaves)

    acting(act)
    first, second = (enqueued(database, effects.act, late=n, options=SHORT) for n in (False, True))
    drain(database)
    assert stored(first).status == "succeeded"
    assert has_timed_out(second)


@pytest.fixture
def rung() -> Iterator[list[float]]:
    """When the alarm of somebody who calls the command rang."""
    rung: list[float] = []
    previous = signal.signal(signal.SIGALRM, lambda *_: rung.append(now()))
    yield rung
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, previous)


@here
def test_a_drain_gives_back_the_alarm_with_what_is_left_of_it(database, acting, rung):
    acting(lambda: time.sleep(0.2))
    enqueued(database, effects.act)
    signal.setitimer(signal.ITIMER_REAL, 60, 7)
    handler = signal.getsignal(signal.SIGALRM)
    drain(database)
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    assert 30 < left <= 59.8
    assert interval == 7
    assert signal.getsignal(signal.SIGALRM) is handler
    assert rung == []


def test_an_alarm_that_was_due_meanwhile_rings_afterwards(rung):
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with at_most(60):
        spin(now() + 0.4)
        assert rung == []
    spin(now() + 0.05)
    assert len(rung) == 1


def test_a_renewal_gives_back_the_alarm(rung):
    signal.setitimer(signal.ITIMER_REAL, 60)
    with at_most(5):
        pass
    assert 30 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    with suppress(TooSlow), at_most(0.05):
        spin(now() + 5)
    assert 30 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    assert rung == []


def told_of(child_state: ChildState) -> list[bool]:
    """Of each execution that goes on, whether it was told that its time is over."""
    return [begun.ends_by >= begun.deadline for begun in child_state.begun() if begun.deadline]


def test_who_is_told_is_noted_as_such_before_it_is_raised(timekeeper):
    child_state = ChildState(2)
    found: dict[str, list[bool]] = {}

    def perform(name: str, watch: Watch) -> None:
        offset = child_state.begin(uuid4().bytes, 1, now() + 60)
        deadline = Deadline(now() + 0.1, child_state, offset)
        deadline.note()
        found[f"{name} begins"] = told_of(child_state)
        try:
            watch.begin(deadline)
            loop_for_ever()
        except AttemptTimeout:
            found[name] = told_of(child_state)
        watch.end()
        assert offset is not None
        child_state.move(offset, 0.0)

    thread = threading.Thread(target=lambda: perform("thread", ThreadWatch(timekeeper)))
    thread.start()
    thread.join(PATIENCE)
    watch = AlarmWatch()
    perform("main", watch)
    watch.close()
    begins = {"thread begins": [False], "main begins": [False]}
    assert found == {**begins, "thread": [True], "main": [True]}


def test_the_timekeeper_tells_whom_the_alarm_does_not_reach(timekeeper):
    child_state = ChildState(1)
    watch = AlarmWatch(timekeeper)
    deadline = Deadline(now() + 0.1, child_state, child_state.begin(uuid4().bytes, 1, now() + 60))
    deadline.note()
    watch.begin(deadline)
    # As in C code, which comes back from a signal to where it was.
    signal.signal(signal.SIGALRM, lambda *_: None)
    limit = now() + 5
    while (told := told_of(child_state)) == [False] and now() < limit:
        time.sleep(0.01)
    watch.close()
    assert told == [True]


@pytest.mark.parametrize("leaves", ["nothing", "its timer"])
def test_the_timekeeper_rings_for_a_timer_that_a_target_has_taken(timekeeper, leaves):
    watch = AlarmWatch(timekeeper)
    try:
        watch.begin(Deadline(now() + 0.1))
        use_the_alarm(leaves)
        watch.end()
        # Later than what the timer was set for.
        watch.begin(Deadline(now() + 0.2))
        with pytest.raises(AttemptTimeout):
            spin(now() + 5)
    finally:
        watch.close()


def test_who_was_told_and_extends_its_deadline_has_to_be_told_again():
    child_state = ChildState(1)
    deadline = Deadline(now(), child_state, child_state.begin(uuid4().bytes, 1, now() + 60))
    deadline.on_move = lambda: None
    deadline.note()
    deadline.told()
    assert told_of(child_state) == [True]
    deadline.move(now() + 60)
    assert told_of(child_state) == [False]


def test_who_was_told_gets_no_more_time_by_others_that_are_looked_after(timekeeper):
    """As in C code that lets other threads go on, and never comes back."""
    child_state = ChildState(1)
    watch = AlarmWatch(timekeeper)
    deadline = Deadline(now() + 0.05, child_state, child_state.begin(uuid4().bytes, 1, now() + 60))
    deadline.note()
    watch.begin(deadline)
    signal.signal(signal.SIGALRM, lambda *_: None)
    limit = now() + 5
    while told_of(child_state) == [False] and now() < limit:
        time.sleep(0.01)
    (first,) = child_state.begun()
    for _ in range(3):
        timekeeper.check_earlier()
        time.sleep(0.05)
    watch.close()
    assert list(child_state.begun()) == [first]
