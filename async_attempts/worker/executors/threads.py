"""Several threads perform, the process's main thread the first of them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connections

from ..execution.runner import Runner
from ..loop.in_flight import InFlight
from ..shared.wake_pipe import WakePipe
from .event_loop import EventLoop


class Threads:
    """The loop runs in a thread of its own, so that it is there while targets are slow."""

    def __init__(
        self,
        in_flight: InFlight,
        runner: Callable[[], Runner],
        wake_pipe: WakePipe,
        performers: int,
        event_loop: EventLoop | None,
    ) -> None:
        self.performers = self.first_batch = performers
        self._in_flight = in_flight
        self._runner = runner
        self._wake_pipe = wake_pipe
        self._event_loop = event_loop
        self._loop_waits = False
        in_flight.wake = in_flight.progress.wake = self._ring
        self._threads = [
            threading.Thread(target=self.perform, name=f"performer-{number}", daemon=True)
            for number in range(2, performers + 1)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def num_async(self) -> int:
        return 0 if self._event_loop is None else self._event_loop.running

    def perform(self) -> None:
        """Perform what comes, until the hand is closed."""
        runner = self._runner()
        try:
            while (claim := self._in_flight.next()) is not None:
                execution = runner.perform(claim)
                runner.connections.give_back()
                if execution is not None:
                    self._in_flight.ended(execution)
        finally:
            connections.close_all()

    def work(self, seconds: float, socket: int | None = None) -> bool:
        """Wait for what has ended."""
        self._loop_waits = True
        if self._in_flight.has_ended:
            seconds = 0.0
        try:
            return self._wake_pipe.wait(seconds, socket)
        finally:
            self._loop_waits = False

    def _ring(self) -> None:
        if self._loop_waits:
            self._loop_waits = False
            self._wake_pipe.wake()

    def close(self) -> None:
        """Let all performers end, but for the main thread, which the caller of this waits for."""
        self._in_flight.close(self.performers)
        for thread in self._threads:
            thread.join()
