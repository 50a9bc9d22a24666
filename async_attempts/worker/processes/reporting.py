"""Reports of the supervisor to systemd, to the health server and about edited code."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ...exceptions import InvalidOption
from ..health import server as health
from ..health.probes import SILENCE, WorkerStatus
from ..health.systemd import Systemd
from ..shared.fork import CRASHED, close_all_before_fork
from ..shared.options import Options
from ..shared.shared_memory import ChildState, SupervisorState, now
from .reload import CodeChanges

logger = logging.getLogger("async_attempts")

HEALTH_PAUSE: Final = 1.0
"""Seconds after which a health server that ended is started again."""


class Reporting:
    """Reports for the supervisor."""

    def __init__(
        self, options: Options, states: Sequence[ChildState], mine: SupervisorState
    ) -> None:
        self._options = options
        self._status = WorkerStatus(states, mine)
        self._systemd = Systemd()
        self._health_pid = 0
        self._next_health = now()
        self._is_ready = False
        self._next_watchdog = 0.0
        self._code_changes = CodeChanges() if options.reload else None

    def begin(self) -> None:
        """Start the health server, before any child. Raises InvalidOption without its port."""
        self._serve_health()

    def tick(self) -> None:
        """Tell what has changed."""
        if not self._health_pid and now() >= self._next_health and not self._status.stopping():
            self._serve_health_again()
        if not self._is_ready and self._status.have_all_ticked():
            self._is_ready = True
            self._systemd.ready()
        if self._is_ready:
            self._systemd.status(
                f"{self._status.in_flight()} in flight, {self._status.performed()} performed"
            )
        interval = self._systemd.watchdog_interval
        if interval is not None and now() >= self._next_watchdog and self._is_alive():
            self._next_watchdog = now() + interval
            self._systemd.watchdog()

    def edited(self) -> Path | None:
        """A file of the code that was edited, if that is to be noticed."""
        return None if self._code_changes is None else self._code_changes.changed()

    def stopping(self, seconds: float) -> None:
        """Tell systemd how long the last executions may take, in seconds."""
        self._systemd.stopping()
        self._systemd.extend(seconds + SILENCE)

    def ended(self, pid: int) -> None:
        """Note that a process ended that was no child's."""
        if pid == self._health_pid:
            logger.warning("the process that answers for the worker's health ended")
            self._health_pid, self._next_health = 0, now() + HEALTH_PAUSE

    def end(self) -> None:
        """End the health server."""
        if self._health_pid:
            with suppress(ProcessLookupError):
                os.kill(self._health_pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._health_pid, 0)

    def reload(self) -> int:
        """Replace this process by a new supervisor, with the code as it is now (execv)."""
        self._systemd.reloading()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        arguments = [sys.executable, *sys.orig_argv[1:]]
        try:
            os.execv(sys.executable, arguments)  # noqa: S606 - it is what this process was
        except OSError:
            logger.exception("the worker can't start again")
        return CRASHED

    def _is_alive(self) -> bool:
        """Return True if `/livez` would say so, or while the worker stops."""
        return self._status.stopping() or all(age < SILENCE for age in self._status.tick_ages())

    def _serve_health_again(self) -> None:
        self._next_health = now() + HEALTH_PAUSE
        try:
            self._serve_health()
        except (InvalidOption, OSError) as error:
            logger.error("the worker's health can't be answered for: %s", error)

    def _serve_health(self) -> None:
        if self._options.health_port is not None:
            close_all_before_fork()
            self._health_pid = health.start(
                self._options.health_port,
                self._status,
                database=self._options.database,
                host=self._options.health_host,
            )
