"""A slot for a child: its pid, the exit of the last child, the start of the next one."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import replace
from typing import Final
from uuid import UUID

from ...conf import settings
from ...pauses import Pauses
from ..shared.fork import fork
from ..shared.options import Options
from ..shared.shared_memory import ChildState, End, now
from .child import LAST_RESORT, run_child
from .reaper import ChildExit

logger = logging.getLogger("async_attempts")

SHORT_LIFE: Final = 10.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0
STUCK_AFTER: Final = 60.0
"""Seconds, two leases at least, after which a loop that doesn't tick is taken to be stuck."""

STACKS_PATIENCE: Final = 2.0
"""Seconds after which a child that doesn't tell its stacks is taken to have no thread that can."""

KILLED_BY_US: Final = "it was killed by its supervisor"
STARVED: Final = (
    "no timeout could be told in it: one of its targets blocks the event loop, or keeps the "
    "interpreter's lock"
)


class ChildSlot:
    """One child at a time: its pid, its state in shared memory, and when the next one is forked."""

    def __init__(self, options: Options) -> None:
        self.options = options
        most = 2 * options.batch_size + options.threads + options.async_tasks
        self.state = ChildState(most)
        self.pid = 0
        self.is_done = False
        self.ended_at = 0.0
        self.is_waiting = False
        self.killed_by_us = self.was_starved = False
        self.timed_out: frozenset[UUID] = frozenset()
        self._due_at = 0.0
        self._stacks_by = 0.0
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE, jitter=0.0)

    @property
    def is_empty(self) -> bool:
        return self.pid == 0

    @property
    def is_due(self) -> bool:
        """True if the next child is to be forked now."""
        return self.is_empty and not (self.is_done or self.is_waiting) and now() >= self._due_at

    def spawn(self) -> None:
        """Fork the next child."""
        self.state.clear(now())
        self.killed_by_us, self.was_starved, self.timed_out = False, False, frozenset()
        supervisor = os.getpid()
        try:
            self.pid = fork(lambda: run_child(self.options, self.state, supervisor))
        except OSError as error:
            logger.error("a child can't be forked: %s", error.strerror)
            self._plan_next()

    def signal(self, number: int) -> None:
        """Send the child a signal."""
        if self.pid:
            os.kill(self.pid, number)

    def request_stacks(self) -> None:
        """Have the child write the stacks of its threads."""
        self.state.request_stacks()
        self._stacks_by = now() + STACKS_PATIENCE
        self.signal(signal.SIGUSR1)

    def insist_on_stacks(self) -> None:
        """Use the last resort for a child that should have written its stacks and didn't."""
        if self.state.stacks_requested and self.state.ticked_at and now() >= self._stacks_by:
            self.state.stacks_written()
            self.signal(LAST_RESORT)

    def ask_to_stop(self) -> None:
        """Let the child finish what has begun, and end."""
        if self.pid:
            self.state.ask_to_stop()
            os.kill(self.pid, signal.SIGTERM)

    def kill(self, timed_out: frozenset[UUID] = frozenset()) -> None:
        """End the child now; only the attempts that ignored their timeouts are to blame."""
        self.killed_by_us, self.timed_out = True, timed_out
        self.signal(signal.SIGKILL)

    def kill_starved(self) -> None:
        """End the child now; any execution that had begun may be what starves the others."""
        self.was_starved = True
        self.signal(signal.SIGKILL)

    def starved(self) -> frozenset[UUID]:
        """Return the attempts whose timeouts are over and could not be delivered."""
        moment = now()
        return frozenset(b.attempt_id for b in self.state.begun() if b.is_starved(moment))

    def reason_to_kill(self) -> frozenset[UUID] | None:
        """Return the attempts that ignore their timeouts, for which the child has to be killed.

        An empty set: its loop is stuck, by neither a target nor the database. None: it is well.
        """
        moment = now()
        going_on = [begun for begun in self.state.begun() if begun.deadline]
        late = frozenset(b.attempt_id for b in going_on if b.ignores_its_timeout(moment))
        if late:
            return late
        patience = max(STUCK_AFTER, 2 * settings().LEASE)
        silent = moment - max(self.state.started_at, self.state.ticked_at, self.state.rests_since)
        is_stuck = not going_on and not self.state.is_at_database and silent > patience
        return frozenset() if is_stuck else None

    def ended(self, status: int) -> ChildExit | None:
        """Note the child's exit by its status of wait(2); None if there is nothing to reap."""
        code = os.waitstatus_to_exitcode(status)
        self.pid = 0
        self.ended_at = now()
        self._plan_next()
        self._count_performed()
        if self.state.end in (End.DONE, End.WORN_OUT) and not self.state.in_flight:
            return None
        worker_id = self.state.worker_id
        if worker_id is None:
            return None
        return ChildExit(
            worker_id,
            self._how(code),
            tuple(self.state.begun()),
            self.timed_out,
            self._is_blameless,
            self._is_unexplained,
        )

    @property
    def _is_unexplained(self) -> bool:
        return self.state.end == End.UNTIMELY and not (self.killed_by_us or self.was_starved)

    @property
    def _is_blameless(self) -> bool:
        """True if no attempt is to blame for the end of the child."""
        return (self.killed_by_us and not self.timed_out) or self.state.end == End.FAULTY

    def _how(self, code: int) -> str:
        if self.killed_by_us:
            return KILLED_BY_US
        if self.was_starved:
            return STARVED
        if code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"ended with the exit code {code}"

    def _plan_next(self) -> None:
        self.is_done = self.state.end == End.DONE
        if self.state.end == End.WORN_OUT:
            self._due_at = 0.0
            return
        if now() - self.state.started_at >= SHORT_LIFE:
            self._pauses.reset()
        self._due_at = now() + self._pauses.next()

    def _count_performed(self) -> None:
        """Lower the limit of executions by those of the child that ended."""
        if (most := self.options.stop_after) is not None:
            left = most - self.state.performed
            self.options = replace(self.options, stop_after=left)
            self.is_done = self.is_done or left <= 0

    @property
    def died_at_start(self) -> bool:
        """True if the last child ended before its claim loop had ticked."""
        return not self.state.ticked_at
