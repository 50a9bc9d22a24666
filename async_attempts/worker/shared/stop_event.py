"""The wish that a worker stops; a signal handler may utter it at any moment."""

from __future__ import annotations

from typing import Self

from .wake_pipe import WakePipe


class StopEvent:
    """Like `threading.Event`, but safe to set in a signal handler of the thread that waits.

    An Event's lock may be held by the very code that the handler interrupts, which then never goes
    on.
    """

    def __init__(self) -> None:
        self._is_set = False
        self.wake_pipe = WakePipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.wake_pipe.close()

    def set(self) -> None:
        """Stop, and wake up whoever waits."""
        if not self._is_set:
            self._is_set = True
            self.wake_pipe.wake()

    def is_set(self) -> bool:
        """Whether to stop."""
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as it is set; another ring may end it early."""
        if not self._is_set:
            self.wake_pipe.wait(seconds)
