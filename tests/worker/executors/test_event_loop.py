"""The event loop of a process goes on whatever its targets do, and brings each of them back."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from async_attempts import Attempt
from async_attempts.lifecycle import Released, Retried, Succeeded
from async_attempts.store import store_for
from async_attempts.worker.execution.prepare import prepare
from async_attempts.worker.execution.runner import Execution
from async_attempts.worker.executors.event_loop import EventLoop
from async_attempts.worker.shared.shared_memory import Begun, ChildState, now
from tests.shop import effects
from tests.shop.vault import Vault
from tests.store.rows import registered
from tests.worker.helpers.attempts import enqueued, raising

pytestmark = pytest.mark.only("sqlite", reason="nothing is asked of the database")

SOON = 0.2
LONG = 30.0
PATIENCE = 10.0


class Performer:
    """An event loop for two targets at once, its page, and what has come back."""

    def __init__(self, database: str) -> None:
        self.store = store_for(database)
        self.worker = registered(self.store)
        self.child_state = ChildState(10)
        self.executions: list[Execution] = []
        self.was_lost = threading.Event()
        self.loop = EventLoop(
            2,
            self.executions.append,
            SimpleNamespace(holds_until=float("inf")),
            self.child_state,
            lost=self.was_lost.set,
        )

    def perform(self, *names: str, timeout: float = LONG) -> bool:
        """Let the targets with these names in `actions` begin, in this order."""
        for name in names:
            options = {"timeout": timeout}
            enqueued(self.store.alias, effects.act_asynchronously, name, options=options)
        claims = self.store.claim(self.worker.pk, ["default"], len(names), suspects=False)
        assert len(claims) == len(names)
        return all(self.loop.perform(prepare(claim)) for claim in claims)

    @property
    def begun(self) -> list[Begun]:
        """What is noted as going on."""
        return [begun for begun in self.child_state.begun() if begun.deadline]

    def outcomes(self, number: int) -> list[tuple[type, str]]:
        """Wait until so many have come back: their outcomes, and the errors' classes."""
        self.until(lambda: len(self.executions) >= number)
        return [(type(e.outcome), type(e.exception).__name__) for e in self.executions]

    @staticmethod
    def until(condition: Callable[[], Any]) -> None:
        limit = now() + PATIENCE
        while not condition():
            assert now() < limit
            time.sleep(0.005)


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """Lets what waits in threads go on, at the end in any case."""
    go = threading.Event()
    yield go
    go.set()


@pytest.fixture
def performer(database) -> Iterator[Performer]:
    performer = Performer(database)
    yield performer
    performer.loop.close()


@pytest.fixture
def actions(acting) -> dict[str, Callable[[], Any]]:
    """What the targets do, by their names."""
    actions: dict[str, Callable[[], Any]] = {}
    acting(lambda name: actions[name]())
    actions["nothing"] = lambda: asyncio.sleep(0)
    return actions


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt])
def test_what_a_sub_task_raises_ends_nobody_else(performer, actions, raised):
    async def raise_it() -> None:
        raise raised

    async def neighbour() -> None:
        await asyncio.sleep(0.1)

    async def gather() -> None:
        await asyncio.gather(raise_it(), asyncio.sleep(LONG))

    actions |= {"neighbour": neighbour, "gather": gather}
    performer.perform("neighbour", "gather")
    outcomes = performer.outcomes(2)
    assert set(outcomes) == {(Succeeded, "NoneType"), (Retried, raised.__name__)}
    performer.perform("nothing")
    assert performer.outcomes(3)[-1] == (Succeeded, "NoneType")


def test_who_stops_the_loop_stops_nobody(performer, actions):
    async def stop() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)

    actions["stop"] = stop
    performer.perform("stop", "nothing")
    assert performer.outcomes(2) == [(Succeeded, "NoneType")] * 2


def test_who_cancels_itself_and_raises_comes_back_and_leaves_its_place(performer, actions):
    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        raise ValueError

    actions["cancel itself"] = cancel_itself
    performer.perform("cancel itself", "cancel itself")
    assert performer.outcomes(2) == [(Retried, "ValueError")] * 2
    performer.perform("nothing", "nothing")
    assert performer.outcomes(4)[2:] == [(Succeeded, "NoneType")] * 2
    assert performer.begun == []


def test_who_cancels_all_that_it_finds_loses_nobody(performer, actions):
    async def cancel_all() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    actions["cancel all"] = cancel_all
    performer.perform("cancel all", "nothing")
    performer.perform("nothing", "nothing")
    outcomes = performer.outcomes(4)
    # One that had not begun yet is given back as such.
    assert {outcome for outcome, _ in outcomes} <= {Succeeded, Retried, Released}
    performer.until(lambda: performer.loop.running == 0)
    performer.perform("nothing", "nothing")
    assert performer.outcomes(6)[4:] == [(Succeeded, "NoneType")] * 2


def test_a_loop_that_can_run_no_more_says_so_and_gives_back_what_waits(performer, actions):
    async def break_it() -> None:
        loop: Any = asyncio.get_running_loop()
        loop._run_once = raising(OSError())
        await asyncio.sleep(LONG)

    actions["break it"] = break_it
    performer.perform("break it")
    assert performer.was_lost.wait(PATIENCE)
    assert performer.perform("nothing")
    assert len(list(performer.loop.give_back())) == 1


def test_a_loop_whose_threads_were_shut_down_says_that_it_can_run_no_more(performer, actions):
    async def break_it() -> None:
        loop: Any = asyncio.get_running_loop()
        await asyncio.to_thread(int)
        await loop.shutdown_default_executor()
        loop._run_once = raising(OSError())
        await asyncio.sleep(LONG)

    actions["break it"] = break_it
    performer.perform("break it")
    assert performer.was_lost.wait(PATIENCE)


def test_who_is_told_and_goes_on_is_noted_as_told(performer, actions):
    told = asyncio.Event()
    go_on = asyncio.Event()

    async def go_on_all_the_same() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(LONG)
        told.set()
        await go_on.wait()

    actions["go on"] = go_on_all_the_same
    performer.perform("go on", timeout=SOON)
    performer.until(lambda: performer.begun)
    assert performer.begun[0].ends_by == 0
    performer.until(told.is_set)
    assert performer.begun[0].ends_by > now()
    performer.loop._loop.call_soon_threadsafe(go_on.set)
    assert performer.outcomes(1) == [(Succeeded, "NoneType")]
    assert performer.begun == []


def test_who_blocks_the_loop_is_told_nothing(performer, actions):
    async def block() -> None:
        time.sleep(4 * SOON)  # noqa: ASYNC251 that is what is tested

    actions["block"] = block
    performer.perform("block", timeout=SOON)
    performer.until(lambda: performer.begun)
    seen = set()
    while (begun := performer.begun) and not performer.executions:
        seen.add(begun[0].ends_by)
        time.sleep(0.005)
    assert seen == {0.0}


def test_who_is_told_has_timed_out(performer, actions):
    actions["sleep"] = lambda: asyncio.sleep(LONG)
    performer.perform("sleep", timeout=SOON)
    assert performer.outcomes(1) == [(Retried, "AttemptTimeout")]


def test_an_execution_goes_on_as_long_as_its_call_in_the_shared_thread(performer, actions, go):
    actions["call"] = sync_to_async(go.wait)
    performer.perform("call", timeout=SOON)
    performer.until(lambda: performer.begun and performer.begun[0].ends_by)
    performer.perform("nothing")
    assert performer.outcomes(1) == [(Succeeded, "NoneType")]
    assert len(performer.begun) == 1
    go.set()
    assert performer.outcomes(2)[1] == (Retried, "AttemptTimeout")
    assert performer.begun == []


def test_a_call_that_its_target_has_given_up_is_told_of_its_timeout_as_well(performer, actions, go):
    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await sync_to_async(go.wait)()

    actions["give up"] = give_up
    performer.perform("give up", timeout=SOON)
    performer.until(lambda: performer.begun and performer.begun[0].ends_by)
    go.set()
    assert performer.outcomes(1) == [(Retried, "TimeoutError")]
    assert performer.begun == []


def test_who_waits_for_the_shared_thread_is_not_to_blame_for_who_keeps_it(performer, actions, go):
    actions["call"] = sync_to_async(go.wait)
    performer.perform("call")
    performer.until(lambda: performer.begun)
    performer.perform("call", timeout=SOON)
    assert performer.outcomes(1) == [(Retried, "AttemptTimeout")]
    assert len(performer.begun) == 1
    go.set()
    assert performer.outcomes(2)[1] == (Succeeded, "NoneType")


def test_calls_of_one_thread_are_made_in_one_thread(performer, actions):
    threads = []

    async def call() -> None:
        for _ in range(2):
            await sync_to_async(lambda: threads.append(threading.current_thread()))()
        await Attempt.objects.using(performer.store.alias).acount()

    actions["call"] = call
    performer.perform("call", "call")
    assert performer.outcomes(2) == [(Succeeded, "NoneType")] * 2
    assert len(set(threads)) == 1


def test_its_name_is_told_and_no_message_of_what_a_sub_task_raises(performer, actions, caplog):
    async def leave() -> None:
        sys.exit("secret")

    async def gather() -> None:
        await asyncio.gather(leave())

    actions["gather"] = gather
    performer.perform("gather")
    performer.outcomes(1)
    assert "SystemExit" in caplog.text
    assert "secret" not in caplog.text


def test_who_cancels_all_cuts_no_neighbour_that_waits_for_its_call(performer, actions, go):
    async def cancel_all() -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    actions |= {"call": sync_to_async(go.wait), "cancel all": cancel_all}
    performer.perform("call", timeout=SOON)
    performer.until(lambda: performer.begun and performer.begun[0].ends_by)
    time.sleep(0.05)
    performer.perform("cancel all")
    performer.outcomes(1)
    time.sleep(0.05)
    assert len(performer.begun) == 1
    go.set()
    assert performer.outcomes(2)[1] == (Retried, "AttemptTimeout")
    assert performer.begun == []


def test_what_fails_when_the_loop_has_nothing_to_do_loses_nobody(performer, actions, monkeypatch):
    monkeypatch.setattr(performer.loop._shared_thread, "rest", raising(RuntimeError()))
    performer.perform("nothing")
    assert performer.outcomes(1) == [(Succeeded, "NoneType")]


def test_a_generator_that_never_ends_does_not_hold_up_the_end(performer, actions):
    kept = []

    async def generate():
        try:
            yield
        finally:
            await asyncio.Event().wait()

    async def leave_it() -> None:
        kept.append(generate())
        await anext(kept[0])

    actions["leave it"] = leave_it
    performer.perform("leave it")
    assert performer.outcomes(1) == [(Succeeded, "NoneType")]
    closing = threading.Thread(target=performer.loop.close, daemon=True)
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive()


def test_what_targets_leave_in_threads_keeps_nobody_from_being_sealed(
    settings, one_call_thread, performer, actions, go
):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "CIPHER": "tests.shop.vault.Vault"}

    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.to_thread(go.wait)

    actions["give up"] = give_up
    performer.perform("give up")
    assert performer.outcomes(1) == [(Retried, "TimeoutError")]


def test_an_execution_goes_on_as_long_as_a_cipher_seals_what_it_came_to(
    settings, performer, actions, go, monkeypatch
):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "CIPHER": "tests.shop.vault.Vault"}
    is_sealing = threading.Event()

    def reach(what: str) -> None:
        if what == "encrypt":
            is_sealing.set()
            go.wait()

    async def fail() -> None:
        monkeypatch.setattr(Vault, "reach", staticmethod(reach))
        raise ValueError

    actions["fail"] = fail
    performer.perform("fail")
    performer.until(is_sealing.is_set)
    assert len(performer.begun) == 1
    go.set()
    assert performer.outcomes(1) == [(Retried, "ValueError")]
    assert performer.begun == []
