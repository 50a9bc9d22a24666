"""The wish that a worker stops; a signal handler may utter it at any moment."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue


class Stopping:
    """Like `threading.Event`, but safe to set in a signal handler of the thread that waits.

    An Event's lock may be held by the very code that the handler interrupts, which then never goes
    on; `SimpleQueue.put` is reentrant (Python's documentation of `queue`).
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wake_up: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Stop, and wake up whoever waits."""
        self._is_set = True
        self._wake_up.put(None)

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as it is set."""
        if not self._is_set:
            with suppress(Empty):
                self._wake_up.get(timeout=seconds)
