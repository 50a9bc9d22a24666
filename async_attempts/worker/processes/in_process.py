"""A worker in the calling process and thread: for tests, and for code that calls the command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ...conf import settings
from ...store import store_for
from ..execution.missing_keys import MissingKeys
from ..execution.runner import Runner
from ..execution.timeouts import AlarmWatch, NoWatch, Watch
from ..executors.inline import Inline
from ..loop.claim_loop import Loop
from ..loop.in_flight import InFlight
from ..loop.poller import Poller
from ..loop.wakeup import WakeUp
from ..shared.options import Options
from ..shared.registration import InProcessRegistrar
from ..shared.stop_event import StopEvent
from .inherited_signals import resetting_in_forks


class NoObserver:
    """That of a loop that nobody feels."""

    def loop_ticked(self, performed: int, in_flight: int, suspects_wait: bool) -> None:
        """Nobody feels it."""

    def note_database(self, is_at_it: bool) -> None:
        """Nobody takes it to be stuck."""

    def is_worn_out(self, performed: int) -> bool:
        return False


def run_in_process(options: Options) -> None:
    """Perform attempts as `options` say; returns when done, or told to by SIGTERM or SIGINT.

    One at a time, `async def` targets too. Who ignores the soft timeout isn't ended: there is no
    process that could be.
    """
    with (
        StopEvent() as stop_event,
        stopped_by_signals(stop_event),
        watching() as watch,
        resetting_in_forks(),
    ):
        InProcessLoop(options, stop_event, watch).run_alone()


class InProcessLoop(Loop):
    """A loop whose own thread performs."""

    def __init__(self, options: Options, stop_event: StopEvent, watch: Watch) -> None:
        store = store_for(options.database)
        self.registrar = InProcessRegistrar(store, options)
        in_flight = InFlight(store)
        missing_keys = MissingKeys()
        runner = Runner(
            store, self.registrar, watch, progress=in_flight.progress, missing_keys=missing_keys
        )
        wakeup = None
        if not options.exits_when_done:
            wakeup = WakeUp(store, options.poll_interval or settings().POLL_INTERVAL)
        super().__init__(
            options,
            in_flight,
            executor=Inline(in_flight, runner, stop_event),
            poller=Poller(store, options.queues, wakeup, missing_keys),
            stop_event=stop_event,
            observer=NoObserver(),
        )

    def stop(self) -> None:
        """Finish what has begun, release the rest, and end."""
        self.stop_event.set()

    def run_alone(self) -> None:
        """Live until done or stopped."""
        self.run(self.registrar)


@contextmanager
def watching() -> Iterator[Watch]:
    """Soft timeouts, where signals can be had."""
    if threading.current_thread() is not threading.main_thread():
        yield NoWatch()
        return
    watch = AlarmWatch()
    try:
        yield watch
    finally:
        watch.close()


@contextmanager
def stopped_by_signals(stop_event: StopEvent) -> Iterator[None]:
    """SIGTERM and SIGINT set `stopping`; only the main thread can listen to signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stop_event.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
