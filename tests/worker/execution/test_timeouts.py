"""An execution that takes too long is told so inside its target, whoever performs it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connections

from async_attempts import current_attempt
from async_attempts.exceptions import AttemptTimeout, InvalidOption
from async_attempts.worker.execution.timeouts import Deadline, ThreadWatch, Timekeeper
from async_attempts.worker.shared.shared_memory import now
from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import drain, enqueued, failures, stored
from tests.worker.helpers.executing import drain_in_threads
from tests.worker.helpers.processes import PATIENCE

SHORT = {"timeout": 0.2}
Drain = Callable[[str], None]

in_each_thread = pytest.mark.parametrize("drained", [drain, drain_in_threads])


def loop_for_ever() -> None:
    while True:
        time.sleep(0.01)


def spin(until: float) -> None:
    """A function, as a target is: what is raised at the turn of a loop leaves its frame.

    (Python 3.13 passes over a `try` in the same frame whose first statement is the loop.)
    """
    while now() < until:
        pass


def has_timed_out(attempt) -> bool:
    kinds = [failure.kind for failure in failures(attempt)]
    return (stored(attempt).status, kinds) == ("scheduled", ["timeout"])


@in_each_thread
def test_a_target_that_goes_on_for_ever_is_ended(database, acting, drained):
    acting(loop_for_ever)
    attempt = enqueued(database, effects.act, options=SHORT)
    drained(database)
    assert has_timed_out(attempt)
    assert "loop_for_ever" in failures(attempt)[0].traceback


def test_in_the_main_thread_a_call_into_the_system_is_ended(database, acting):
    hears, rings = os.pipe()
    acting(lambda: os.read(hears, 1))
    attempt = enqueued(database, effects.act, options=SHORT)
    drain(database)
    os.close(hears)
    os.close(rings)
    assert has_timed_out(attempt)


@in_each_thread
def test_a_target_that_catches_it_and_returns_has_succeeded(database, acting, drained):
    def clean_up() -> str:
        try:
            loop_for_ever()
        except AttemptTimeout:
            return "half of it"
        return "all of it"

    acting(clean_up)
    attempt = enqueued(database, effects.act, options={**SHORT, "keep_result": True})
    drained(database)
    assert (stored(attempt).status, stored(attempt).stored_result) == ("succeeded", "half of it")


@in_each_thread
def test_an_atomic_target_is_ended_and_rolled_back(database, acting, drained):
    def write_and_loop() -> None:
        effects.write_ledger(database)
        loop_for_ever()

    acting(write_and_loop)
    attempt = enqueued(database, effects.act_atomically, options=SHORT)
    drained(database)
    assert has_timed_out(attempt)
    assert not Ledger.objects.using(database).exists()


@in_each_thread
@pytest.mark.parametrize("longer", [60, timedelta(minutes=1)])
def test_a_deadline_can_be_moved_to_later(database, acting, drained, longer):
    def extend() -> None:
        current_attempt().extend(longer)
        time.sleep(0.5)

    acting(extend)
    attempt = enqueued(database, effects.act, options=SHORT)
    drained(database)
    assert stored(attempt).status == "succeeded"


@in_each_thread
def test_a_deadline_can_be_moved_to_earlier(database, acting, drained):
    def hurry() -> None:
        current_attempt().extend(0.1)
        loop_for_ever()

    acting(hurry)
    attempt = enqueued(database, effects.act)
    drained(database)
    assert has_timed_out(attempt)


@pytest.mark.only("sqlite", reason="nothing is asked of the database")
@pytest.mark.parametrize("nonsense", [0, -1, True, "60", None, float("nan"), timedelta(0)])
def test_a_deadline_cannot_be_moved_to_nowhere(database, acting, nonsense):
    errors: list[Exception] = []

    def extend() -> None:
        try:
            current_attempt().extend(nonsense)
        except InvalidOption as error:
            errors.append(error)

    acting(extend)
    enqueued(database, effects.act)
    drain(database)
    assert len(errors) == 1


@in_each_thread
def test_the_deadline_of_one_is_none_of_the_next(database, acting, drained):
    acting(time.sleep)
    first = enqueued(database, effects.act, 0, options={**SHORT, "priority": "high"})
    second = enqueued(database, effects.act, 0.5)
    drained(database)
    assert (stored(first).status, stored(second).status) == ("succeeded", "succeeded")


def test_an_async_target_is_ended_where_it_awaits(database, acting):
    acting(lambda: asyncio.sleep(PATIENCE))
    attempt = enqueued(database, effects.act_asynchronously, options=SHORT)
    drain_in_threads(database)
    assert has_timed_out(attempt)


def test_an_async_target_that_catches_it_and_returns_has_succeeded(database, acting):
    async def clean_up() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE)
        return "half of it"

    acting(clean_up)
    options = {**SHORT, "keep_result": True}
    attempt = enqueued(database, effects.act_asynchronously, options=options)
    drain_in_threads(database)
    assert (stored(attempt).status, stored(attempt).stored_result) == ("succeeded", "half of it")


def test_a_timeout_of_its_own_is_an_error_as_any_other(database, acting):
    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(PATIENCE)

    acting(give_up)
    attempt = enqueued(database, effects.act_asynchronously)
    drain_in_threads(database)
    assert [failure.kind for failure in failures(attempt)] == ["error"]


def test_an_async_targets_deadline_can_be_moved(database, acting):
    async def move(seconds: float, lasts: float, *, in_thread: bool) -> None:
        extend = current_attempt().extend
        if in_thread:
            await asyncio.to_thread(extend, seconds)
        else:
            extend(seconds)
        await asyncio.sleep(lasts)

    acting(move)
    later, on_loop = (
        enqueued(database, effects.act_asynchronously, 60, 0.5, in_thread=n, options=SHORT)
        for n in (False, True)
    )
    earlier = enqueued(database, effects.act_asynchronously, 0.1, PATIENCE, in_thread=False)
    drain_in_threads(database)
    assert (stored(later).status, stored(on_loop).status) == ("succeeded", "succeeded")
    assert has_timed_out(earlier)


@pytest.fixture
def timekeeper() -> Iterator[Timekeeper]:
    timekeeper = Timekeeper()
    timekeeper.start()
    yield timekeeper
    timekeeper.stop()


def test_after_the_end_nothing_is_raised_however_late_it_was(timekeeper):
    ended: list[str] = []

    def perform() -> None:
        watch = ThreadWatch(timekeeper)
        for number in range(300):
            # The one ends before its deadline, the other after it, most of them at it.
            until = now() + 0.0005 * (number % 3)
            with suppress(AttemptTimeout):
                watch.begin(Deadline(now() + 0.0005))
                try:
                    spin(until)
                finally:
                    watch.end()
            for _ in range(200):
                "what comes after it".split()
        ended.append("well")

    thread = threading.Thread(target=perform)
    thread.start()
    thread.join(PATIENCE)
    assert ended == ["well"]


def test_it_is_raised_in_the_thread_that_is_late_and_in_no_other(timekeeper):
    raised_in: list[str] = []
    late_is_over = threading.Event()

    def late() -> None:
        watch = ThreadWatch(timekeeper)
        watch.begin(Deadline(now() + 0.05))
        try:
            loop_for_ever()
        except AttemptTimeout:
            raised_in.append("late")
        watch.end()
        late_is_over.set()

    def in_time() -> None:
        watch = ThreadWatch(timekeeper)
        watch.begin(Deadline(now() + PATIENCE))
        try:
            while not late_is_over.is_set():
                time.sleep(0.01)
        except AttemptTimeout:
            raised_in.append("in time")
        watch.end()

    threads = [threading.Thread(target=target, daemon=True) for target in (in_time, late)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert raised_in == ["late"]


def test_a_deadline_after_the_end_of_all_time_keeps_no_other_from_being_looked_at(timekeeper):
    raised: list[str] = []

    def late() -> None:
        watch, patient = ThreadWatch(timekeeper), ThreadWatch(timekeeper)
        patient.begin(Deadline(now() + 1e12))
        for number in range(2):
            with suppress(AttemptTimeout):
                watch.begin(Deadline(now() + 0.05))
                try:
                    loop_for_ever()
                except AttemptTimeout:
                    raised.append(str(number))
                watch.end()
        patient.end()

    thread = threading.Thread(target=late, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert raised == ["0", "1"]


def test_whoever_is_late_at_its_very_beginning_holds_up_nobody(timekeeper):
    ended: list[int] = []

    def perform() -> None:
        watch = ThreadWatch(timekeeper)
        for number in range(4_000):
            with suppress(AttemptTimeout):
                try:
                    watch.begin(Deadline(now() + 0.000_02 * (number % 5)))
                    "what the target does".split()
                finally:
                    watch.end()
        ended.append(1)

    threads = [threading.Thread(target=perform, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert ended == [1, 1, 1]


@pytest.mark.only("postgresql", reason="others' drivers don't come back before the answer")
@pytest.mark.parametrize("catches", [False, True])
@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_connection_whose_answer_nobody_awaits_is_not_left_to_the_next(
    database, acting, target, catches
):
    def ask_for_long() -> None:
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [PATIENCE])

    def ask_and_catch() -> None:
        with suppress(AttemptTimeout):
            ask_for_long()

    acting(ask_and_catch if catches else ask_for_long)
    slow = enqueued(database, target, options={**SHORT, "priority": "high"})
    after = enqueued(database, effects.write_row, database)
    drain(database)
    # An atomic one has to be recorded over the same connection.
    has_succeeded = catches and target is effects.act
    assert stored(slow).status == ("succeeded" if has_succeeded else "scheduled")
    assert (stored(after).status, stored(after).num_attempts) == ("succeeded", 1)


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    """The interpreter goes from one thread to another as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("_hasty_threads")
def test_what_is_late_when_it_begins_keeps_nobody_from_telling_the_time(timekeeper):
    ended: list[str] = []

    def perform() -> None:
        watch = ThreadWatch(timekeeper)
        for number in range(2_000):
            with suppress(AttemptTimeout):
                try:
                    watch.begin(Deadline(now() + 1e-6 * (number % 50)))
                finally:
                    watch.end()
        ended.append("well")

    threads = [threading.Thread(target=perform, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert ended == ["well", "well"]


def test_what_is_interrupted_gets_no_more_time():
    deadline = Deadline(now() + 60)
    moved: list[float] = []
    deadline.on_move = lambda: moved.append(deadline.at)
    assert deadline.interrupt("no stock")
    ends_at = deadline.at
    deadline.move(now() + 60)
    assert (deadline.at, moved) == (ends_at, [])
    assert not deadline.interrupt("again")
    assert deadline.interrupted_for == "no stock"
