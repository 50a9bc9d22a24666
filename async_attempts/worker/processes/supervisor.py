"""The parent of all children: it bears them, looks after them, buries them, and performs nothing.

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
from ..shared.options import Options
from ..shared.shared_memory import End, SupervisorPage, now
from .child import CRASHED
from .child_slot import FIRST_PAUSE, LONGEST_PAUSE, Cradle
from .fork import forked
from .lease_renewal import Renewing
from .os_signals import Requests
from .reaper import Death, bury
from .reporting import Outward

logger = logging.getLogger("async_attempts")

TICK: Final = 0.25
"""Seconds between two looks at the deadlines."""

PAUSE: Final = 2.0
"""Seconds without a look that tell of a process that was stopped, or a machine that slept."""

STILLBORN_AT_MOST: Final = 5

DONE: Final = 0
NO_DATABASE: Final = 3
HANDED_BACK: Final = 4
"""Exit codes; the last, when something that had begun was handed back."""

LAST_BURIALS: Final = 2.0
"""Seconds after the shutdown's timeout in which what was killed then can still be taken back. If
the database is away, others do so when the lease has run out."""


class Burial(NamedTuple):
    """One death to be buried, for the first time or again; `due_at`: when, by `now()`."""

    cradle: Cradle
    death: Death
    failed: int = 0
    due_at: float = 0.0

    def again(self) -> Burial:
        """The next try, ever later."""
        failed = self.failed + 1
        cap = min(settings().LEASE / 3, LONGEST_PAUSE)
        pause = Backoff.exponential(FIRST_PAUSE, cap=cap).delay(failed)
        return self._replace(failed=failed, due_at=now() + pause)


class Supervisor:
    """One `run_attempts`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.page = SupervisorPage()
        self.cradles = [Cradle(options) for _ in range(options.processes)]
        self.spare = Cradle(replace(options, suspects_only=True, threads=1, async_tasks=0))
        self.spare.is_done = True
        self.requests = Requests()
        pages = [cradle.page for cradle in (*self.cradles, self.spare)]
        self.renewing = Renewing(store_for(options.database), pages, self.page)
        self.outward = Outward(options, [cradle.page for cradle in self.cradles], self.page)
        self.exit_code = DONE
        self._burials: dict[int, Burial] = {}
        self._put_off: list[Burial] = []
        self._stillborn = 0
        self._stop_by: float | None = None
        self._handed_back = False
        self._went_round_at = self._patient_until = now()

    def run(self) -> int:
        """Live until told to stop, or until nothing is left to do; returns the exit code."""
        with self.requests:
            self.outward.begin()
            try:
                while not self._is_over():
                    self._go_round()
            finally:
                self._end()
        if self.requests.reload and self.exit_code == DONE:
            return self.outward.reload()
        if self._handed_back and self.exit_code == DONE:
            return HANDED_BACK
        return self.exit_code

    def _go_round(self) -> None:
        self._forgive_a_pause()
        self._reap()
        self._obey()
        if self._stop_by is None:
            self._bury_again()
            for cradle in self.cradles:
                if cradle.is_due:
                    cradle.spawn()
            self._perform_suspects()
        self._look_after()
        self.renewing.tick()
        self.outward.tick()
        if (edited := self.outward.edited()) is not None:
            logger.info("%s was edited; the worker begins anew", edited)
            self.requests.ask_to_reload()
        self.requests.wait(min(TICK, self.renewing.seconds))

    @property
    def _living(self) -> Iterator[Cradle]:
        return (cradle for cradle in (*self.cradles, self.spare) if not cradle.is_empty)

    def _is_over(self) -> bool:
        if any(self._living):
            return False
        if self._stop_by is not None:
            return not self._burials or now() > self._stop_by + LAST_BURIALS
        is_buried = not (self._burials or self._put_off)
        return is_buried and all(cradle.is_done for cradle in self.cradles)

    def _obey(self) -> None:
        """Do what signals have asked for."""
        if self.requests.dump:
            self.requests.dump = False
            self._dump()
        if self.requests.stop and self._stop_by is None:
            self._stop()
        if self.requests.at_once:
            self._stop_by = min(self._stop_by or now(), now())

    def _stop(self) -> None:
        self._stop_by = now() + self.options.shutdown_timeout
        self.page.stop()
        self.outward.stopping(self.options.shutdown_timeout)
        for cradle in self._living:
            cradle.ask_to_stop()

    def _forgive_a_pause(self) -> None:
        """Who was frozen together with the children lets them hear that their time is over."""
        if now() - self._went_round_at > PAUSE:
            self._patient_until = now() + settings().TIMEOUT_GRACE
        self._went_round_at = now()

    def _look_after(self) -> None:
        """End those who can't be waited for any longer."""
        for cradle in self._living:
            cradle.insist_on_stacks()
            if self._stop_by is not None and now() >= self._stop_by:
                self._handed_back |= any(cradle.page.begun())
                cradle.kill()
            elif now() < self._patient_until:
                continue
            elif starved := cradle.starved():
                # First: those that were told can't have ended either.
                logger.error(
                    "child %d is killed: it is starved, %s could not be told of its timeout",
                    cradle.pid,
                    ", ".join(map(str, starved)),
                )
                cradle.kill_starved()
            elif (culprits := cradle.is_hopeless()) is not None:
                logger.error(
                    "child %d is killed: %s",
                    cradle.pid,
                    f"{', '.join(map(str, culprits))} ignored its timeout"
                    if culprits
                    else "its loop is stuck",
                )
                cradle.kill(culprits)

    def _perform_suspects(self) -> None:
        """Let suspects be performed that wait for a hand which never runs empty."""
        if any(cradle.page.wants_suspects_performed for cradle in self.cradles):
            self.spare.is_done = False
            if self.spare.is_due:
                self.spare.spawn()

    def _reap(self) -> None:
        """See who has ended, and have them buried."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._burials:
                self._buried(self._burials.pop(pid), status)
            elif (cradle := self._cradle_of(pid)) is not None:
                self._ended(cradle, status)
            else:
                self.outward.ended(pid)

    def _cradle_of(self, pid: int) -> Cradle | None:
        return next((cradle for cradle in self._living if cradle.pid == pid), None)

    def _ended(self, cradle: Cradle, status: int) -> None:
        pid = cradle.pid
        death = cradle.ended(status)
        if cradle.page.end == End.WITHOUT_DATABASE:
            self._give_up(NO_DATABASE)
        elif cradle.page.end == End.UNTIMELY and self._stop_by is None:
            self._count_stillborn(cradle)
        if death is not None:
            logger.warning("child %d was lost: %s", pid, death.how)
            self._bury(Burial(cradle, death))

    def _count_stillborn(self, cradle: Cradle) -> None:
        self._stillborn = self._stillborn + 1 if cradle.was_stillborn else 0
        if self._stillborn >= STILLBORN_AT_MOST:
            logger.critical("%d children in a row died at their start; giving up", self._stillborn)
            self._give_up(CRASHED)

    def _give_up(self, code: int) -> None:
        self.exit_code = self.exit_code or code
        self.requests.stop = True

    def _bury(self, burial: Burial) -> None:
        cradle = burial.cradle
        try:
            pid = forked(lambda: bury(self.options.database, burial.death))
        except OSError as error:
            # Its lease is renewed no more: others will rescue it. After a first try in vain another
            # child may live there.
            if cradle.page.worker_id == burial.death.worker_id:
                cradle.page.become(None)
            cradle.is_waiting = False
            logger.error("a dead child's attempts can't be taken back: %s", error.strerror)
            return
        # Before a drain's next child looks around, all of it is to be back.
        self._burials[pid] = burial
        if self.options.drain:
            cradle.is_waiting = True

    def _bury_again(self) -> None:
        """Begin the burials that failed, and whose time has come."""
        due = [burial for burial in self._put_off if now() >= burial.due_at]
        self._put_off = [burial for burial in self._put_off if burial not in due]
        for burial in due:
            self._bury(burial)

    def _buried(self, burial: Burial, status: int) -> None:
        if status and self._stop_by is None:
            again = burial.again()
            logger.warning(
                "what a child held could not be taken back; trying again in %.1f s",
                again.due_at - now(),
            )
            self._put_off.append(again)
            return
        cradle = burial.cradle
        cradle.is_waiting = False
        if self.options.drain:
            # It is due again, also if all children had found nothing left: the spare one held it.
            self.cradles[0].is_done = False

    def _dump(self) -> None:
        for cradle in self._living:
            begun = ", ".join(str(begun.attempt_id) for begun in cradle.page.begun())
            logger.warning(
                "child %d: %d in hand, begun: %s", cradle.pid, cradle.page.in_hand, begun or "none"
            )
            cradle.ask_for_stacks()

    def _end(self) -> None:
        """Leave nobody behind."""
        for cradle in self._living:
            cradle.kill()
            with suppress(ChildProcessError):
                os.waitpid(cradle.pid, 0)
        self.outward.end()
