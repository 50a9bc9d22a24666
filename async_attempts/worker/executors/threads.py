"""The threads of a child that perform, the first of them its main thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from django.db import connections

from ...store import Claim
from ..execution.runner import Runner
from ..loop.in_flight import InFlight
from ..shared.wake_pipe import LoopWait
from .event_loop import EventLoop


class Threads:
    """Performs in several threads beside the loop's, which is there while targets are slow."""

    is_alone = False

    def __init__(
        self,
        in_flight: InFlight,
        runner: Callable[[], Runner],
        loop_wait: LoopWait,
        performers: int,
        event_loop: EventLoop | None,
    ) -> None:
        self.performers = self.first_batch = performers
        self._in_flight = in_flight
        self._runner = runner
        self._loop_wait = loop_wait
        self._event_loop = event_loop
        self._threads = [
            threading.Thread(target=self.perform, name=f"performer-{number}", daemon=True)
            for number in range(2, performers + 1)
        ]

    def start(self) -> None:
        """Start all performers but the first, the thread that is to call `perform()`."""
        for thread in self._threads:
            thread.start()

    @property
    def num_async(self) -> int:
        return 0 if self._event_loop is None else self._event_loop.running

    def seconds_waiting(self) -> float:
        return 0.0 if self._event_loop is None else self._event_loop.seconds_waiting()

    def give_back(self) -> Iterator[Claim]:
        return iter(()) if self._event_loop is None else self._event_loop.give_back()

    def perform(self) -> None:
        """Perform claims until there will be none any more."""
        runner = self._runner()
        try:
            while (claim := self._in_flight.next()) is not None:
                execution = runner.perform(claim)
                runner.connections.give_back()
                if execution is not None:
                    self._in_flight.ended(execution)
        finally:
            connections.close_all()

    def work(self, seconds: float, socket: int | None = None) -> None:
        """Wait for what has ended."""
        self._loop_wait.wait(seconds, socket, lambda: self._in_flight.has_ended)

    def close(self) -> None:
        """Let all performers end, but for the main thread, which the caller of this waits for."""
        self._in_flight.close(self.performers)
        for thread in self._threads:
            thread.join()
