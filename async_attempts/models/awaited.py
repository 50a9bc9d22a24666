"""Waiting for one row, and watching it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

from . import ports
from .progress import Progress
from .querysets import writing
from .verbs import VerbsRow


class AwaitedRow(VerbsRow):
    """What it came to, for those who can't go on without knowing."""

    class Meta:
        abstract = True

    @writing
    def result(self, timeout: float | timedelta | None = None) -> Any:
        """Wait until it has ended; returns what its target returned.

        `timeout`: seconds or a timedelta; None: for ever. Raises AttemptFailed, AttemptExpired or
        AttemptGone, ResultNotKept if nobody asked to keep what it returned, TimeoutError, and
        WaitingInTransaction, at once, inside an atomic block of its database.
        """
        return ports.waiting.result(self, timeout)

    @writing
    async def aresult(self, timeout: float | timedelta | None = None) -> Any:
        """`result` for async code; the event loop isn't kept waiting."""
        return await ports.waiting.aresult(self, timeout)

    @writing
    def watch(self, timeout: float | timedelta | None = None) -> AsyncGenerator[Progress, None]:
        """How far it is, now and whenever that changes: `Progress(percent, note, state)`.

        Ends after the final state. Raises TimeoutError and WaitingInTransaction as `result`.
        """
        return ports.waiting.watch(self, timeout)
