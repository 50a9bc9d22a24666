"""The calling thread performs: inside a test's transaction, or where the caller wants to see it."""

from __future__ import annotations

from ..execution.runner import Runner
from ..loop.batch_size import BATCH_SECONDS
from ..loop.in_flight import InFlight
from ..shared.shared_memory import now
from ..shared.stop_event import StopEvent


class Inline:
    """One attempt after the other, in between of what the loop does."""

    performers = 1
    first_batch = 16
    num_async = 0

    def __init__(self, in_flight: InFlight, runner: Runner, stop_event: StopEvent) -> None:
        self._in_flight = in_flight
        self._runner = runner
        self._stop_event = stop_event

    def work(self, seconds: float, socket: int | None = None) -> bool:
        """Perform for about as long as a batch should take; wait only when there is nothing."""
        if not self._in_flight.unbegun:
            return self._stop_event.wake_pipe.wait(seconds, socket)
        until = now() + BATCH_SECONDS
        while now() < until and not self._stop_event.is_set():
            if (claim := self._in_flight.next_at_once()) is None:
                break
            if (execution := self._runner.perform(claim)) is not None:
                self._in_flight.ended(execution)
        return False
