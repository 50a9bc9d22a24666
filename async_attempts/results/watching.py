"""Watching how an attempt gets on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta

from ..lifecycle import GONE
from ..models import AbstractAttempt
from ..models.progress import Progress
from ..store import store_for
from .pauses import Pauses
from .waiting import AsyncWait, Question, awaited_on


class Watched(Question):
    """Is it further than at the last answer?"""

    progress = Progress(None, "", "")

    def __init__(self, attempt: AbstractAttempt) -> None:
        super().__init__([awaited_on(attempt)])
        self._attempt = attempt

    def ask(self) -> bool:
        before, self.progress = self.progress, self._look()
        return self.progress != before

    def unanswered(self) -> str:
        return f"{self._attempt} {self._attempt.pk} is {self.progress.state}"

    def _look(self) -> Progress:
        rows = store_for(awaited_on(self._attempt)).database.attempts.filter(pk=self._attempt.pk)
        row = rows.only("status", "claimed_by", "progress", "progress_note").first()
        if row is None:
            return Progress(self.progress.percent, self.progress.note, GONE)
        return Progress(row.progress, row.progress_note, row.state)


async def watch(
    attempt: AbstractAttempt,
    timeout: float | timedelta | None = None,
) -> AsyncGenerator[Progress, None]:
    """How far it is, now and whenever that changes, until it has ended; see `Attempt.watch`."""
    watched, pauses = Watched(attempt), Pauses(timeout)
    waiting = AsyncWait(watched, pauses)
    try:
        while not watched.progress.is_over:
            await waiting.answered()
            yield watched.progress
            pauses.begin_anew()
    finally:
        watched.end()
