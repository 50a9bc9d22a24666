"""Reconnection of the listener for notifications."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from ...pauses import Pauses
from ...store.notifications import Listener

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0


class Reconnector:
    """Gets a Listener in a thread, so that a network without answers holds up no loop."""

    def __init__(self, params: Callable[[], Mapping[str, Any]]) -> None:
        self._params = params
        self._came: SimpleQueue[Listener | Exception] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._next_try = 0.0
        self._closed = False

    def came(self) -> Listener | None:
        """The new one, if there is one by now. Raises once, for each try, why there is none."""
        if self._thread is None:
            if time.monotonic() >= self._next_try:
                self._try(self._params())
            return None
        try:
            outcome = self._came.get_nowait()
        except Empty:
            return None
        self._thread = None
        if isinstance(outcome, Exception):
            raise outcome
        self._pauses.reset()
        return outcome

    def pause(self) -> None:
        """Wait before the next try, longer each time, with jitter."""
        self._next_try = time.monotonic() + self._pauses.next()

    def close(self) -> None:
        """Close what may still come."""
        self._closed = True
        self._close_those_that_came()

    def _try(self, params: Mapping[str, Any]) -> None:
        self._thread = threading.Thread(
            target=self._connect, args=[params], name="listener", daemon=True
        )
        self._thread.start()

    def _connect(self, params: Mapping[str, Any]) -> None:
        try:
            self._came.put(Listener(params))
        except Exception as error:
            self._came.put(error)
        if self._closed:
            self._close_those_that_came()

    def _close_those_that_came(self) -> None:
        with suppress(Empty):
            while True:
                outcome = self._came.get_nowait()
                if isinstance(outcome, Listener):
                    outcome.close()
