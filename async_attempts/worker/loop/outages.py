"""Outages of the database: pauses that grow while it doesn't answer."""

from __future__ import annotations

import logging
from typing import Final

from django.db import Error, connections

from ...pauses import Pauses
from ...store.database import Database
from ...store.transactions import waited_too_long
from ..execution.sessions import is_in_testcase
from ..shared.shared_memory import now
from ..shared.wake_pipe import StopEvent

logger = logging.getLogger("async_attempts")

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
LAST_PAUSE: Final = 1.0
LOCK_PAUSE: Final = 0.05
"""Seconds after a wait for somebody else's lock that the database has ended."""

TOLD_AGAIN: Final = 60.0
"""Seconds after which a lock that is still in the way is logged once more."""


def code_of(error: Error) -> object:
    """The driver's code for the error; its text may hold what a statement's parameters held."""
    cause = error.__cause__
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None)
    return code or next((part for part in error.args if isinstance(part, int)), "")


class Outages:
    """Counts failures in a row and pauses between them, with jitter."""

    def __init__(self, stop_event: StopEvent) -> None:
        self.stop_event = stop_event
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._quiet_until = 0.0

    def over(self) -> None:
        """Note that the database answers again."""
        self._pauses.reset()

    def sit_out(self, error: Error, database: Database, *, gives_up: bool) -> bool:
        """Pause until another try may succeed; return True if the connections were closed for it.

        `gives_up`: raise the error, unless somebody else's lock is in the way.
        """
        if waited_too_long(error) and not database.connection.in_atomic_block:
            self._wait_for_lock()
            return False
        if gives_up:
            raise error
        self.wait(error)
        return True

    def _wait_for_lock(self) -> None:
        """Pause for a moment: the connection is sound."""
        if now() >= self._quiet_until:
            self._quiet_until = now() + TOLD_AGAIN
            logger.warning(
                "another transaction locks what this worker is to write; it goes on trying"
            )
        self.stop_event.wake_pipe.wait(LOCK_PAUSE)

    def wait(self, error: Error) -> None:
        """Let go of the connections and pause, at most LONGEST_PAUSE seconds."""
        pause = self._pauses.next()
        if self.stop_event.is_set():
            # There isn't much time left.
            pause = min(pause, LAST_PAUSE)
        logger.warning(
            "the database answers with %s %s; trying again in %.1f s",
            type(error).__name__,
            code_of(error),
            pause,
        )
        for connection in connections.all(initialized_only=True):
            # A test's transaction would end with it.
            if not is_in_testcase(connection):
                connection.close()
        self.stop_event.wake_pipe.wait(pause)
