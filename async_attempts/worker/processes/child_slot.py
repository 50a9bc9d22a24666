"""A place for a child: who lies there, how the last one ended, when the next is born."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from typing import Final
from uuid import UUID

from ...conf import settings
from ..shared.options import Options
from ..shared.shared_memory import End, Page, now
from .child import LAST_RESORT, live
from .fork import forked
from .reaper import Death

logger = logging.getLogger("async_attempts")

SHORT_LIFE: Final = 10.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0
UNHEARD: Final = 60.0
"""Seconds, two leases at least, after which a loop that doesn't tick is taken to be stuck."""

STACKS_PATIENCE: Final = 2.0
"""Seconds after which a child that doesn't tell its stacks is taken to have no thread that can."""

KILLED_BY_US: Final = "it was killed by its supervisor"
STARVED: Final = (
    "no timeout could be told in it: one of its targets blocks the event loop, or keeps the "
    "interpreter's lock"
)


class Cradle:
    """One child after the other."""

    def __init__(self, options: Options) -> None:
        self.options = options
        most = 2 * options.batch_size + options.threads + options.async_tasks
        self.page = Page(most)
        self.pid = 0
        self.is_done = False
        self.is_waiting = False
        self.is_innocent = self.was_starved = False
        self.culprits: frozenset[UUID] = frozenset()
        self._due_at = 0.0
        self._stacks_by = 0.0
        self._short_lives = 0

    @property
    def is_empty(self) -> bool:
        return self.pid == 0

    @property
    def is_due(self) -> bool:
        """Whether the next child is to be born."""
        return self.is_empty and not (self.is_done or self.is_waiting) and now() >= self._due_at

    def spawn(self) -> None:
        """Let a child be born."""
        self.page.clear(now())
        self.is_innocent, self.was_starved, self.culprits = False, False, frozenset()
        supervisor = os.getpid()
        try:
            self.pid = forked(lambda: live(self.options, self.page, supervisor))
        except OSError as error:
            logger.error("a child can't be born: %s", error.strerror)
            self._plan_next()

    def signal(self, number: int) -> None:
        """Send the child a signal."""
        if self.pid:
            os.kill(self.pid, number)

    def ask_for_stacks(self) -> None:
        """Have the child write what its threads are doing."""
        self.page.ask_for_stacks()
        self._stacks_by = now() + STACKS_PATIENCE
        self.signal(signal.SIGUSR1)

    def insist_on_stacks(self) -> None:
        """Have them written by the last resort, if the child can't and could be expected to."""
        if self.page.owes_stacks and self.page.ticked_at and now() >= self._stacks_by:
            self.page.tell_stacks()
            self.signal(LAST_RESORT)

    def ask_to_stop(self) -> None:
        """Let the child finish what has begun, and end."""
        if self.pid:
            self.page.ask_to_stop()
            os.kill(self.pid, signal.SIGTERM)

    def kill(self, culprits: frozenset[UUID] = frozenset()) -> None:
        """End the child now. Only `culprits` are to blame for it; without any, nobody is."""
        self.is_innocent, self.culprits = not culprits, culprits
        self.signal(signal.SIGKILL)

    def kill_starved(self) -> None:
        """End the child now. Nobody knows which of those that had begun starves the others."""
        self.was_starved = True
        self.signal(signal.SIGKILL)

    def starved(self) -> frozenset[UUID]:
        """The attempts whose time is over, and which nothing in the child came to tell so."""
        moment = now()
        return frozenset(b.attempt_id for b in self.page.begun() if b.is_starved(moment))

    def is_hopeless(self) -> frozenset[UUID] | None:
        """Why the child has to be killed: the attempts that ignore their timeouts.

        An empty set: its loop is stuck, and neither a target nor the database keeps it from going
        round. None: it is well.
        """
        moment = now()
        going_on = [begun for begun in self.page.begun() if begun.deadline]
        late = frozenset(b.attempt_id for b in going_on if b.ignores_its_timeout(moment))
        if late:
            return late
        patience = max(UNHEARD, 2 * settings().LEASE)
        silent = moment - max(self.page.born_at, self.page.ticked_at, self.page.rests_since)
        is_stuck = not going_on and not self.page.is_at_database and silent > patience
        return frozenset() if is_stuck else None

    def ended(self, status: int) -> Death | None:
        """The child has ended, with this status of wait(2); returns what is to be buried."""
        code = os.waitstatus_to_exitcode(status)
        self.pid = 0
        self._plan_next()
        self._count_performed()
        if self.page.end in (End.DONE, End.WORN_OUT) and not self.page.in_hand:
            return None
        worker_id = self.page.worker_id
        if worker_id is None:
            return None
        return Death(
            worker_id,
            self._how(code),
            tuple(self.page.begun()),
            self.culprits,
            self.is_innocent or self.page.end == End.FAULTY,
            self._is_unexplained,
        )

    @property
    def _is_unexplained(self) -> bool:
        killed_by_us = self.is_innocent or self.was_starved or bool(self.culprits)
        return self.page.end == End.UNTIMELY and not killed_by_us

    def _how(self, code: int) -> str:
        if self.culprits or self.is_innocent:
            return KILLED_BY_US
        if self.was_starved:
            return STARVED
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"ended with the exit code {code}"

    def _plan_next(self) -> None:
        self.is_done = self.page.end == End.DONE
        if self.page.end == End.WORN_OUT:
            self._due_at = 0.0
            return
        lived = now() - self.page.born_at
        self._short_lives = self._short_lives + 1 if lived < SHORT_LIFE else 0
        self._due_at = now() + min(FIRST_PAUSE * 2.0**self._short_lives, LONGEST_PAUSE)

    def _count_performed(self) -> None:
        """All children together are to perform so many."""
        if (most := self.options.max_attempts) is not None:
            left = most - self.page.performed
            self.options = replace(self.options, max_attempts=left)
            self.is_done = self.is_done or left <= 0

    @property
    def was_stillborn(self) -> bool:
        """Whether the last child ended before its loop had gone round once."""
        return not self.page.ticked_at
