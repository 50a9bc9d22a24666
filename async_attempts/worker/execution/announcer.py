"""Announcements to receivers of signals, error hooks and the log.

That is a project's code, as are its logging handlers: in a child it has threads of its own, so that
the one which claims and records never waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from django.db import connections

from ...signals import Announced
from ..shared.shared_memory import now
from .connection_cleanup import NO_BLOCKS, connections_here, open_blocks

logger = logging.getLogger("async_attempts")

IDLE: Final = 5.0
"""Seconds without an announcement after which a thread closes its connections."""

MOST: Final = 1_000
"""Announcements that wait in a process. Each may hold an exception with all of its frames."""

DROPPED_INTERVAL: Final = 60.0

LAST_LINES: Final = 1.0
"""Seconds that the log is given at least, when hooks took all the time there was."""

Announcement = Callable[[], object]


class Announcer(Protocol):
    """Tells what was recorded."""

    def announce(self, signal: Announced, sender: type, **named: Any) -> None:
        """Send `signal`, if anybody listens, and write its line to the log."""

    def call(self, hook: Announcement) -> None:
        """Call a project's own hook."""


class AtOnce:
    """Announces in the calling thread, where that performs, too."""

    def announce(self, signal: Announced, sender: type, **named: Any) -> None:
        if signal.line.receivers:
            call_safely(partial(signal.line.send_robust, sender, **named))
        if signal.has_listeners(sender):
            self.call(partial(signal.send_robust, sender, **named))

    def call(self, hook: Announcement) -> None:
        blocks = open_blocks()
        call_safely(hook)
        connections_here().clean(blocks)


class Lane:
    """A thread that makes announcements in their order; it starts with the first one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._waiting: SimpleQueue[Announcement | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, announcement: Announcement) -> bool:
        """Tell it after all that was put before; False if too many wait. Never waits itself."""
        if self._waiting.qsize() >= MOST:
            return False
        self._waiting.put(announcement)
        if self._thread is None:
            self._start()
        return True

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                # A daemon: what never comes back must not keep the process.
                thread = threading.Thread(target=self._live, name=self._name, daemon=True)
                # If no thread can be had, the next announcement tries again.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def _live(self) -> None:
        while (announcement := self._next()) is not None:
            call_safely(announcement)
            del announcement
            connections_here().clean(NO_BLOCKS)
        connections.close_all()

    def _next(self) -> Announcement | None:
        """Wait for the next one; a long wait closes the connections."""
        try:
            return self._waiting.get(timeout=IDLE)
        except Empty:
            connections.close_all()
            return self._waiting.get()

    def close(self) -> None:
        """End the thread after the announcements that wait."""
        self._waiting.put(None)

    def join(self, seconds: float) -> int:
        """Wait for all announcements, at most for these seconds; return the number that is left."""
        if self._thread is None:
            # The end marker isn't an announcement.
            return self._waiting.qsize() - 1
        self._thread.join(seconds)
        # The present announcement isn't in the queue, but the end marker is.
        return self._waiting.qsize() if self._thread.is_alive() else 0


class InThreads:
    """Tells in one thread for hooks and receivers, and one for the log.

    Each has its order. A hook that never comes back holds up neither the log nor the process.
    """

    def __init__(self) -> None:
        self._hooks, self._lines = Lane("hooks"), Lane("log")
        self._dropped = 0
        self._tell_at = 0.0

    def announce(self, signal: Announced, sender: type, **named: Any) -> None:
        if signal.line.receivers:
            self._lines.put(partial(signal.line.send_robust, sender, **named))
        if signal.has_listeners(sender):
            self.call(partial(signal.send_robust, sender, **named))

    def call(self, hook: Announcement) -> None:
        if self._hooks.put(hook):
            return
        self._dropped += 1
        if now() >= self._tell_at:
            self._tell_at = now() + DROPPED_INTERVAL
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        number, self._dropped = self._dropped, 0
        line = "receivers of signals or error hooks are too slow: %d calls of them were left out"
        if number and not self._lines.put(partial(logger.error, line, number)):
            self._dropped += number

    def close(self, seconds: float) -> None:
        """Wait until all is announced, at most for these seconds; the rest is left out."""
        until = now() + seconds
        self._hooks.close()
        self._dropped += self._hooks.join(seconds)
        self._tell_dropped()
        self._lines.close()
        # Written beside the hooks: there's hardly anything left, unless a handler hangs, too.
        self._lines.join(max(LAST_LINES, until - now()))


def call_safely(announcement: Announcement) -> None:
    """Do it; nothing that it raises leaves this function."""
    try:
        announcement()
    except BaseException as error:
        with suppress(Exception):
            logger.error("telling what happened raised %s", type(error).__name__)
