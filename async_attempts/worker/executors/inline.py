"""The executor of a worker without children: the loop's own thread."""

from __future__ import annotations

from ...store import Claim
from ..execution.runner import Runner
from ..loop.batch_size import BATCH_SECONDS
from ..loop.in_flight import InFlight
from ..shared.shared_memory import now
from ..shared.wake_pipe import StopEvent


class Inline:
    """Performs one attempt after the other in the loop's own thread."""

    performers = 1
    first_batch = 16
    num_async = 0
    is_alone = True

    def __init__(self, in_flight: InFlight, runner: Runner, stop_event: StopEvent) -> None:
        self._in_flight = in_flight
        self._runner = runner
        self._stop_event = stop_event

    def seconds_waiting(self) -> float:
        return 0.0

    def give_back(self) -> tuple[Claim, ...]:
        """Return nothing: this passes nothing on."""
        return ()

    def work(self, seconds: float, socket: int | None = None) -> None:
        """Perform for about as long as a batch should take; wait only when there is nothing."""
        if not self._in_flight.unbegun:
            self._stop_event.wake_pipe.wait(seconds, socket)
            return
        until = now() + BATCH_SECONDS
        while now() < until and not self._stop_event.is_set():
            if (claim := self._in_flight.next_at_once()) is None:
                break
            if (execution := self._runner.perform(claim)) is not None:
                self._in_flight.ended(execution)
