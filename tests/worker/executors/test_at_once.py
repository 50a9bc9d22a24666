"""Several targets are really performed at once, each in a context of its own."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest
from asgiref.sync import sync_to_async

from async_attempts import current_attempt
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, states
from tests.worker.helpers.executing import drain_in_threads
from tests.worker.helpers.processes import PATIENCE

marked: ContextVar[str] = ContextVar("marked", default="nobody")

LONG = {"timeout": PATIENCE}

in_each_thread = pytest.mark.parametrize("drained", [drain, drain_in_threads])


def test_so_many_threads_so_many_targets_at_once(database, acting):
    together = threading.Barrier(4)
    acting(lambda: together.wait(PATIENCE))
    for _ in range(8):
        enqueued(database, effects.act)
    drain_in_threads(database, threads=4)
    assert set(states(database)) == {"succeeded"}


def test_so_many_async_targets_at_once(database, acting):
    together = asyncio.Barrier(20)
    acting(together.wait)
    for _ in range(40):
        enqueued(database, effects.act_asynchronously, options=LONG)
    drain_in_threads(database, threads=1, async_tasks=20)
    assert set(states(database)) == {"succeeded"}


def test_no_more_async_targets_at_once(database, acting):
    in_flight: set[object] = set()
    numbers = []

    async def count() -> None:
        me = object()
        in_flight.add(me)
        numbers.append(len(in_flight))
        await asyncio.sleep(0.02)
        in_flight.remove(me)

    acting(count)
    for _ in range(30):
        enqueued(database, effects.act_asynchronously)
    drain_in_threads(database, threads=2, async_tasks=3)
    assert set(states(database)) == {"succeeded"}
    assert max(numbers) == 3


def test_async_targets_keep_no_thread_from_performing(database, acting):
    is_performed = threading.Event()

    async def wait() -> None:
        # In a thread of the loop's own executor, not in the one that performs.
        assert await asyncio.to_thread(is_performed.wait, PATIENCE)

    def act(*, is_async: bool) -> object:
        if is_async:
            return wait()
        is_performed.set()
        return None

    acting(act)
    for _ in range(3):
        enqueued(database, effects.act_asynchronously, is_async=True, options=LONG)
    enqueued(database, effects.act, is_async=False)
    drain_in_threads(database, threads=1, async_tasks=3)
    assert set(states(database)) == {"succeeded"}


@in_each_thread
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_target_sets_is_not_there_for_the_next(database, acting, drained, is_async):
    found = []

    def mark() -> None:
        found.append(marked.get())
        marked.set("somebody")

    async def mark_async() -> None:
        mark()
        await asyncio.sleep(0.005)

    acting(mark_async if is_async else mark)
    # Enough to let some begin at the end of another.
    for _ in range(30):
        enqueued(database, effects.act_asynchronously if is_async else effects.act)
    drained(database)
    assert found == ["nobody"] * 30
    assert marked.get() == "nobody"


def test_an_async_target_is_known_in_the_threads_that_it_asks(database, acting):
    ids = []

    def know() -> None:
        ids.append(current_attempt().id)

    async def ask() -> None:
        know()
        await asyncio.sleep(0)
        await asyncio.to_thread(know)
        await sync_to_async(know)()

    acting(ask)
    attempts = [enqueued(database, effects.act_asynchronously) for _ in range(5)]
    drain_in_threads(database, async_tasks=5)
    assert sorted(ids) == sorted(attempt.pk for attempt in attempts for _ in range(3))


def test_each_thread_knows_the_attempt_that_it_performs(database, acting):
    together = threading.Barrier(3)
    known = {}

    def know(number: int) -> None:
        together.wait(PATIENCE)
        known[number] = current_attempt().id
        together.wait(PATIENCE)

    acting(know)
    attempts = [enqueued(database, effects.act, number) for number in range(3)]
    drain_in_threads(database, threads=3)
    assert known == {number: attempt.pk for number, attempt in enumerate(attempts)}
