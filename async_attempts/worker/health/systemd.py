"""Tell systemd how the worker does: the datagrams of sd_notify(3), without libsystemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

PATIENCE: Final = 1.0
"""Seconds that a full socket may hold the worker up; then it goes on unheard."""


class Systemd:
    """The service manager that started this process; without one every method does nothing.

    Only the process that made it is heard; a child that was forked later stays silent, as
    `NotifyAccess=main` asks. A manager that is gone or doesn't listen raises nothing.

    `watchdog_interval`: seconds within which `watchdog()` is to be called, half of what
    sd_watchdog_enabled(3) gives; None if no watchdog waits for this process.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._pid = os.getpid()
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._status = ""
        self.watchdog_interval = self._watchdog(environment) if self._address else None

    def ready(self) -> None:
        """Tell that the start, or the reload, is over."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Tell that a reload begins; `ready()` ends it."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line of `systemctl status`; sent only if it has changed."""
        line = " ".join(text.split())
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def watchdog(self) -> None:
        """Tell that the worker is alive."""
        self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> None:
        """Tell that the start, reload or stop that is under way takes `seconds` more."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def _watchdog(self, environment: Mapping[str, str]) -> float | None:
        meant = environment.get("WATCHDOG_PID")
        microseconds = environment.get("WATCHDOG_USEC", "")
        if meant not in (None, str(self._pid)) or not microseconds.isdecimal():
            return None
        return int(microseconds) / 2_000_000 or None

    def _send(self, *assignments: str) -> bool:
        if self._address is None or os.getpid() != self._pid:
            return False
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(PATIENCE)
            sender.sendto("\n".join(assignments).encode("utf-8", "replace"), self._address)
            return True
        return False


def _address(given: str) -> str | None:
    """Return the address as sockets take it: an abstract `@name` begins with a NUL."""
    if given.startswith("@"):
        return "\0" + given[1:]
    return given if given.startswith("/") else None
