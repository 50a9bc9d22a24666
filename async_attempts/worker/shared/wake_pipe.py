"""What wakes a thread that waits: another thread, a signal, or a socket."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from typing import Final

MOST_AT_ONCE: Final = 4096


class WakePipe:
    """A pipe, since a signal handler may ring at any moment, even the interpreter's own in C."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)

    @property
    def fd(self) -> int:
        """For `signal.set_wakeup_fd`."""
        return self._writer

    def wake(self) -> None:
        """Wake who waits, or who will wait next."""
        # A full pipe wakes as well.
        with suppress(BlockingIOError):
            os.write(self._writer, b"\0")

    def wait(self, seconds: float, socket: int | None = None) -> bool:
        """Return after `seconds`, as soon as it rings, or when `socket` has something to read.

        True if the socket has, or is broken.
        """
        if socket is not None:
            self._poll.register(socket, select.POLLIN)
        try:
            ready = self._poll.poll(max(0.0, seconds) * 1000)
        finally:
            if socket is not None:
                self._poll.unregister(socket)
        with suppress(BlockingIOError):
            os.read(self._reader, MOST_AT_ONCE)
        return any(fd == socket for fd, _ in ready)

    def close(self) -> None:
        for end in (self._reader, self._writer):
            os.close(end)
