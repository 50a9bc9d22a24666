"""Ticks of schedules: when a worker enqueues them, and declares the schedules of its code.

An idle worker's poll says when the next tick is; no statement is made before.
"""

from __future__ import annotations

import logging
from typing import Final

from django.db import Error

from ...exceptions import AttemptsError
from ...pauses import Pauses
from ...printable import MESSAGE_LENGTH, printable
from ...schedules import declare
from ...store import Store, Ticked
from ...store.transactions import is_about_a_value
from ..shared.options import LONGEST_POLL
from ..shared.shared_memory import now

DECLARE_INTERVAL: Final = 60.0
SHORTEST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 60.0
"""Seconds after a try in vain: what is due is another release's, or can't be enqueued. Not longer
than until the next tick."""

logger = logging.getLogger("async_attempts")


class ScheduleTicks:
    """Enqueues due ticks, and declares the schedules of this process's code."""

    def __init__(self, store: Store, *, exits_when_done: bool = False) -> None:
        """`exits_when_done`: what is due at the first tick is enqueued, and nothing after it."""
        self.store = store
        self.exits_when_done = exits_when_done
        self._names: frozenset[str] = frozenset()
        self._next_declaring = 0.0
        self._not_before = 0.0
        self._pauses = Pauses(SHORTEST_PAUSE, LONGEST_PAUSE, jitter=0.0)
        self._is_over = False
        self._quiet_until: dict[str, float] = {}

    def tick(self, next_tick_at: float | None) -> bool:
        """Do what is due; return True if something was enqueued.

        `next_tick_at`: when the next tick is, by this process's clock, as the last poll found.
        """
        if self._is_over:
            return False
        moment = now()
        if moment >= self._next_declaring:
            self._declare()
            self._next_declaring = moment + DECLARE_INTERVAL
        if self.exits_when_done:
            self._is_over = True
            return self.enqueue()
        if next_tick_at is None or moment < max(next_tick_at, self._not_before):
            return False
        return self.enqueue()

    def _declare(self) -> None:
        try:
            self._names = declare(self.store)
        except Error:
            raise
        except Exception as error:
            # A project's cipher, say, which seals the arguments.
            logger.error(
                "schedules can't be declared, again in %.0f s: %s",
                DECLARE_INTERVAL,
                type(error).__name__,
            )

    def enqueue(self) -> bool:
        """Enqueue the ticks that are due; return True if there were any."""
        ticked = self.store.schedules.enqueue_ticks(self._names)
        for one in ticked:
            self._tell(one)
        if any(one.problem is not None and is_about_a_value(one.problem) for one in ticked):
            for schedule in self.store.malformed_rows.mend_schedules():
                logger.error("%s", schedule)
        if any(one.problem is None for one in ticked):
            self._pauses.reset()
            self._not_before = 0.0
        elif not self._is_over:
            self._rest()
        return any(one.attempt is not None for one in ticked)

    def _rest(self) -> None:
        """Pause after a try in vain, until another one may succeed."""
        coming = self.store.schedules.coming_ticks(self._names)
        if coming.is_any_due:
            pause = self._pauses.next()
        else:
            # Another worker came first; the next poll says when to try again, if not sooner.
            pause = LONGEST_POLL
            self._pauses.reset()
        if coming.seconds is not None:
            pause = min(pause, coming.seconds)
        self._not_before = now() + pause

    def _tell(self, ticked: Ticked) -> None:
        name = printable(ticked.schedule)
        if ticked.problem is None:
            self._quiet_until.pop(name, None)
            if ticked.gone is not None:
                gone = printable(ticked.gone)
                logger.info("schedule %s: deleted: %s does not exist any more", name, gone)
            elif ticked.attempt is None:
                logger.info("schedule %s: a tick was skipped", name)
        elif now() >= self._quiet_until.get(name, 0.0):
            # It stays due, and is tried again long before.
            self._quiet_until[name] = now() + LONGEST_PAUSE
            why = type(ticked.problem).__name__
            if isinstance(ticked.problem, AttemptsError):
                why = printable(ticked.problem.in_clear, MESSAGE_LENGTH)
            logger.error("schedule %s: a tick can't be enqueued: %s", name, why)
