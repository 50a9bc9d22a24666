"""A worker in the calling process and thread, for tests and for code that calls the command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ...store import store_for
from ..execution.missing_keys import MissingKeys
from ..execution.runner import Runner
from ..execution.timeouts import AlarmWatch, NoWatch, Watch
from ..executors.inline import Inline
from ..loop.claim_loop import Loop
from ..loop.in_flight import InFlight
from ..loop.poller import Poller
from ..loop.queue_filter import QueueFilter
from ..loop.wakeup import WakeUp
from ..shared.options import Options
from ..shared.registration import InProcessLease
from ..shared.wake_pipe import StopEvent
from .os_signals import resetting_in_forks


class NoObserver:
    """An observer that does nothing."""

    def loop_ticked(self, performed: int, in_flight: int, suspects_seen_at: float) -> None:
        """Do nothing."""

    def note_database(self, is_at_it: bool) -> None:
        """Do nothing."""

    def is_worn_out(self, performed: int) -> bool:
        return False


def run_in_process(options: Options) -> None:
    """Perform attempts as `options` say; return when done, or told to stop by SIGTERM or SIGINT.

    One at a time, `async def` targets too. A target that ignores its soft timeout isn't ended:
    there is no process that could be.
    """
    with StopEvent() as stop_event, heeding_signals(stop_event) as watch, resetting_in_forks():
        in_process_loop(options, stop_event, watch).run()


def in_process_loop(options: Options, stop_event: StopEvent, watch: Watch) -> Loop:
    """Return the claim loop of a worker that performs in the loop's own thread."""
    store = store_for(options.database)
    lease = InProcessLease(store, options)
    queue_filter, missing_keys = QueueFilter(options.queues), MissingKeys()
    in_flight = InFlight(store, queue_filter)
    progress = in_flight.progress
    runner = Runner(store, lease, watch, progress=progress, missing_keys=missing_keys)
    wakeup = None if options.exits_when_done else WakeUp(store, options.poll_interval)
    return Loop(
        options,
        in_flight,
        lease=lease,
        executor=Inline(in_flight, runner, stop_event),
        poller=Poller(store, queue_filter, wakeup, missing_keys),
        stop_event=stop_event,
        observer=NoObserver(),
    )


@contextmanager
def heeding_signals(stop_event: StopEvent) -> Iterator[Watch]:
    """Let SIGTERM and SIGINT set `stop_event`, and SIGALRM end targets in time.

    Only the main thread can listen to signals; in any other there are none of these.
    """
    if threading.current_thread() is not threading.main_thread():
        yield NoWatch()
        return

    def stop(number: int, frame: FrameType | None) -> None:
        stop_event.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    watch = AlarmWatch()
    try:
        yield watch
    finally:
        watch.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
