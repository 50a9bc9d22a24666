"""The parent of all children: it forks, watches and replaces them, and performs nothing.

It has one thread, so that it may fork at any time, and one statement, which renews the lease.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final, NamedTuple

from ...backoff import Backoff
from ...conf import settings
from ...store import store_for
from ..shared.fork import CRASHED, fork
from ..shared.options import Options
from ..shared.shared_memory import End, SupervisorState, now
from .child_slot import FIRST_PAUSE, LONGEST_PAUSE, ChildSlot
from .lease_renewal import LeaseRenewal
from .os_signals import OsSignals
from .reaper import ChildExit, reap
from .reporting import Reporting

logger = logging.getLogger("async_attempts")

TICK: Final = 0.25
"""Seconds between two checks of the deadlines."""

PAUSE: Final = 2.0
"""Seconds between two checks that tell of a process that was stopped, or a machine that slept."""

MOST_DEATHS_AT_START: Final = 5

DONE: Final = 0
NO_DATABASE: Final = 3
HANDED_BACK: Final = 4
"""Exit codes; the last, when something that had begun was handed back."""

LAST_REAPING: Final = 2.0
"""Seconds after the shutdown's timeout in which what was killed then can still be taken back. If
the database is away, others do so when the lease has run out."""


class Reaping(NamedTuple):
    """A dead child whose attempts are to be taken back; `due_at`: the next try, by `now()`."""

    child_slot: ChildSlot
    child_exit: ChildExit
    failed: int = 0
    due_at: float = 0.0

    def again(self) -> Reaping:
        """Return the next try, after a pause that grows."""
        failed = self.failed + 1
        cap = min(settings().LEASE / 3, LONGEST_PAUSE)
        pause = Backoff.exponential(FIRST_PAUSE, cap=cap).delay(failed)
        return self._replace(failed=failed, due_at=now() + pause)


class Supervisor:
    """The parent process of one `run_attempts`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.state = SupervisorState()
        self.child_slots = [ChildSlot(options) for _ in range(options.processes)]
        self.spare = ChildSlot(replace(options, suspects_only=True, threads=1, async_tasks=0))
        self.spare.is_done = True
        self.os_signals = OsSignals()
        states = [child_slot.state for child_slot in (*self.child_slots, self.spare)]
        self.lease_renewal = LeaseRenewal(store_for(options.database), states, self.state)
        self.reporting = Reporting(
            options, [child_slot.state for child_slot in self.child_slots], self.state
        )
        self.exit_code = DONE
        self._reapings: dict[int, Reaping] = {}
        self._failed_reapings: list[Reaping] = []
        self._deaths_at_start = 0
        self._stop_by: float | None = None
        self._handed_back = False
        self._went_round_at = self._lenient_until = now()

    def run(self) -> int:
        """Run until told to stop, or until nothing is left to do; return the exit code."""
        with self.os_signals:
            self.reporting.begin()
            try:
                while not self._is_over():
                    self._go_round()
            finally:
                self._end()
        if self.os_signals.reload and self.exit_code == DONE:
            return self.reporting.reload()
        if self._handed_back and self.exit_code == DONE:
            return HANDED_BACK
        return self.exit_code

    def _go_round(self) -> None:
        self._allow_for_a_freeze()
        self._collect_exits()
        self._obey()
        if self._stop_by is None:
            self._retry_reapers()
            for child_slot in self.child_slots:
                if child_slot.is_due:
                    child_slot.spawn()
            self._perform_suspects()
        self._check_children()
        self.lease_renewal.tick()
        self.reporting.tick()
        if (edited := self.reporting.edited()) is not None:
            logger.info("%s was edited; the worker starts again", edited)
            self.os_signals.ask_to_reload()
        self.os_signals.wait(min(TICK, self.lease_renewal.seconds))

    @property
    def _living(self) -> Iterator[ChildSlot]:
        return (
            child_slot for child_slot in (*self.child_slots, self.spare) if not child_slot.is_empty
        )

    def _is_over(self) -> bool:
        if any(self._living):
            return False
        if self._stop_by is not None:
            return not self._reapings or now() > self._stop_by + LAST_REAPING
        is_reaped = not (self._reapings or self._failed_reapings)
        return is_reaped and all(child_slot.is_done for child_slot in self.child_slots)

    def _obey(self) -> None:
        """Act on the signals that have come."""
        if self.os_signals.dump:
            self.os_signals.dump = False
            self._dump()
        if self.os_signals.stop and self._stop_by is None:
            self._stop()
        if self.os_signals.at_once:
            self._stop_by = min(self._stop_by or now(), now())

    def _stop(self) -> None:
        self._stop_by = now() + self.options.shutdown_timeout
        self.state.stop()
        self.reporting.stopping(self.options.shutdown_timeout)
        for child_slot in self._living:
            child_slot.ask_to_stop()

    def _allow_for_a_freeze(self) -> None:
        """Give children that were frozen with this process the time to deliver timeouts."""
        if now() - self._went_round_at > PAUSE:
            self._lenient_until = now() + settings().TIMEOUT_GRACE
        self._went_round_at = now()

    def _check_children(self) -> None:
        """Kill the children that can't be waited for any longer."""
        for child_slot in self._living:
            child_slot.insist_on_stacks()
            if self._stop_by is not None and now() >= self._stop_by:
                self._handed_back |= any(child_slot.state.begun())
                child_slot.kill()
            elif now() < self._lenient_until:
                continue
            elif starved := child_slot.starved():
                # First: targets that were told of their timeouts can't have ended either.
                logger.error(
                    "child %d is killed: it is starved, %s could not be told of its timeout",
                    child_slot.pid,
                    ", ".join(map(str, starved)),
                )
                child_slot.kill_starved()
            elif (timed_out := child_slot.reason_to_kill()) is not None:
                logger.error(
                    "child %d is killed: %s",
                    child_slot.pid,
                    f"{', '.join(map(str, timed_out))} ignored its timeout"
                    if timed_out
                    else "its loop is stuck",
                )
                child_slot.kill(timed_out)

    def _perform_suspects(self) -> None:
        """Start the spare child when a child has seen suspects due since the last one ended."""
        seen_at = max(child_slot.state.suspects_seen_at for child_slot in self.child_slots)
        if seen_at > self.spare.ended_at:
            self.spare.is_done = False
            if self.spare.is_due:
                self.spare.spawn()

    def _collect_exits(self) -> None:
        """Wait for processes that have ended (waitpid), and have dead children reaped."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._reapings:
                self._reaper_ended(self._reapings.pop(pid), status)
            elif (child_slot := self._child_slot_of(pid)) is not None:
                self._child_ended(child_slot, status)
            else:
                self.reporting.ended(pid)

    def _child_slot_of(self, pid: int) -> ChildSlot | None:
        return next((child_slot for child_slot in self._living if child_slot.pid == pid), None)

    def _child_ended(self, child_slot: ChildSlot, status: int) -> None:
        pid = child_slot.pid
        child_exit = child_slot.ended(status)
        if child_slot.state.end == End.WITHOUT_DATABASE:
            self._give_up(NO_DATABASE)
        elif child_slot.state.end == End.UNTIMELY and self._stop_by is None:
            self._count_death_at_start(child_slot)
        if child_exit is not None:
            logger.warning("child %d was lost: %s", pid, child_exit.how)
            self._start_reaper(Reaping(child_slot, child_exit))

    def _count_death_at_start(self, child_slot: ChildSlot) -> None:
        self._deaths_at_start = self._deaths_at_start + 1 if child_slot.died_at_start else 0
        if self._deaths_at_start >= MOST_DEATHS_AT_START:
            logger.critical(
                "%d children in a row died at their start; giving up", self._deaths_at_start
            )
            self._give_up(CRASHED)

    def _give_up(self, code: int) -> None:
        self.exit_code = self.exit_code or code
        self.os_signals.stop = True

    def _start_reaper(self, reaping: Reaping) -> None:
        child_slot = reaping.child_slot
        try:
            pid = fork(lambda: reap(self.options.database, reaping.child_exit))
        except OSError as error:
            # Its lease is renewed no more: others will rescue it. After a first try in vain another
            # child may live there.
            if child_slot.state.worker_id == reaping.child_exit.worker_id:
                child_slot.state.set_worker(None)
            child_slot.is_waiting = False
            logger.error("a dead child's attempts can't be taken back: %s", error.strerror)
            return
        # Before the next child of a drain polls, all of it is to be pending again.
        self._reapings[pid] = reaping
        if self.options.drain:
            child_slot.is_waiting = True

    def _retry_reapers(self) -> None:
        """Start the reapers again that failed, and whose pause is over."""
        due = [reaping for reaping in self._failed_reapings if now() >= reaping.due_at]
        self._failed_reapings = [reaping for reaping in self._failed_reapings if reaping not in due]
        for reaping in due:
            self._start_reaper(reaping)

    def _reaper_ended(self, reaping: Reaping, status: int) -> None:
        if status and self._stop_by is None:
            again = reaping.again()
            logger.warning(
                "what a child held could not be taken back; trying again in %.1f s",
                again.due_at - now(),
            )
            self._failed_reapings.append(again)
            return
        child_slot = reaping.child_slot
        child_slot.is_waiting = False
        if self.options.drain:
            # It is due again, also if all children had found nothing left: the spare one held it.
            self.child_slots[0].is_done = False

    def _dump(self) -> None:
        for child_slot in self._living:
            begun = ", ".join(str(begun.attempt_id) for begun in child_slot.state.begun())
            logger.warning(
                "child %d: %d in flight, begun: %s",
                child_slot.pid,
                child_slot.state.in_flight,
                begun or "none",
            )
            child_slot.request_stacks()

    def _end(self) -> None:
        """Kill and reap all processes."""
        for child_slot in self._living:
            child_slot.kill()
            with suppress(ChildProcessError):
                os.waitpid(child_slot.pid, 0)
        self.reporting.end()
