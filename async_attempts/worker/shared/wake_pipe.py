"""Waking a thread that waits: by another thread, by a signal, or by a socket."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

MOST_AT_ONCE: Final = 4096


class WakePipe:
    """A self-pipe: a signal handler may write to it at any moment, even the interpreter's in C."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)

    @property
    def fd(self) -> int:
        """The end for `signal.set_wakeup_fd`."""
        return self._writer

    def wake(self) -> None:
        """End the present wait, or else the next one."""
        # A full pipe wakes as well.
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def wait(self, seconds: float, socket: int | None = None) -> None:
        """Return after `seconds`, after `wake()`, or when `socket` is readable or broken."""
        if socket is not None:
            self._poll.register(socket, select.POLLIN)
        try:
            self._poll.poll(max(0.0, seconds) * 1000)
        finally:
            if socket is not None:
                self._poll.unregister(socket)
        with suppress(BlockingIOError):
            os.read(self._reader, MOST_AT_ONCE)

    def close(self) -> None:
        for end in (self._reader, self._writer):
            os.close(end)


class LoopWait:
    """The wait of a claim loop; other threads write to its pipe only while it waits."""

    def __init__(self, wake_pipe: WakePipe) -> None:
        self._wake_pipe = wake_pipe
        self._is_waiting = False

    def wake(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._wake_pipe.wake()

    def wait(self, seconds: float, socket: int | None, is_over: Callable[[], bool]) -> None:
        """Wait as `WakePipe.wait` does; not at all if `is_over()` is true already."""
        self._is_waiting = True
        try:
            self._wake_pipe.wait(0.0 if is_over() else seconds, socket)
        finally:
            self._is_waiting = False


def wake_nobody() -> None:
    """Do nothing: the loop's own thread performs, so that it never waits for another."""


class StopEvent:
    """A stop flag that is safe to set in a signal handler of the thread that waits.

    The lock of a `threading.Event` may be held by the very code that the handler interrupts, which
    then never goes on.
    """

    def __init__(self) -> None:
        self._is_set = False
        self.wake_pipe = WakePipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.wake_pipe.close()

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            self.wake_pipe.wake()

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, as soon as it is set, or earlier if something else wakes."""
        if not self._is_set:
            self.wake_pipe.wait(seconds)
