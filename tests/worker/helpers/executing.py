"""A drain in this process as a child does it: by threads, and by an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from async_attempts.store import store_for
from async_attempts.worker.execution.missing_keys import MissingKeys
from async_attempts.worker.execution.runner import Runner
from async_attempts.worker.execution.timeouts import ThreadWatch, Timekeeper
from async_attempts.worker.executors import event_loop
from async_attempts.worker.executors.call_threads import CallThreads
from async_attempts.worker.executors.event_loop import EventLoop
from async_attempts.worker.executors.threads import Threads
from async_attempts.worker.loop.claim_loop import Loop
from async_attempts.worker.loop.in_flight import InFlight
from async_attempts.worker.loop.poller import Poller
from async_attempts.worker.loop.queue_filter import QueueFilter
from async_attempts.worker.processes.in_process import NoObserver
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.registration import InProcessLease
from async_attempts.worker.shared.wake_pipe import LoopWait, StopEvent
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued


def drain_in_threads(database: str, threads: int = 2, async_tasks: int = 4) -> None:
    """Perform what is due in so many threads, and so many async targets at once."""
    store = store_for(database)
    options = Options(database=database, queues=("default", "emails", "fulfilment"), drain=True)
    stop_event, timekeeper = StopEvent(), Timekeeper()
    loop_wait, queue_filter = LoopWait(stop_event.wake_pipe), QueueFilter(options.queues)
    in_flight = InFlight(store, queue_filter, wake=loop_wait.wake)
    lease = InProcessLease(store, options)
    timekeeper.start()
    for_async = EventLoop(async_tasks, in_flight.ended, lease, say=in_flight.progress.say)

    for_async.start()
    missing_keys = MissingKeys()

    def runner() -> Runner:
        return Runner(
            store,
            lease,
            ThreadWatch(timekeeper),
            async_executor=for_async,
            progress=in_flight.progress,
            missing_keys=missing_keys,
        )

    # The first performer is the thread that would else wait for the loop's: nobody here.
    executor = Threads(in_flight, runner, loop_wait, threads + 1, for_async)
    executor.start()
    poller = Poller(store, queue_filter, None)
    loop = Loop(
        options,
        in_flight,
        lease=lease,
        executor=executor,
        poller=poller,
        stop_event=stop_event,
        observer=NoObserver(),
    )
    try:
        loop.run()
    finally:
        executor.close()
        for_async.close()
        timekeeper.stop()


def perform_in_one_thread(
    database: str, *actions: Callable[[], object], target: Any = effects.act
) -> None:
    """Let one thread perform `target` once for each of the actions, in their order."""
    steps = iter(actions)

    def act() -> object:
        return next(steps)()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effects, "action", act)
        for _ in actions:
            enqueued(database, target, options={"max_attempts": 1})
        drain_in_threads(database, threads=1)


@pytest.fixture
def one_call_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that async targets call by `asyncio.to_thread` is called in the same thread."""
    monkeypatch.setattr(event_loop, "CallThreads", lambda _, name: CallThreads(1, name))
