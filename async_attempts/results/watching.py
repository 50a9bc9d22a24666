"""Watching how an attempt gets on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from ..lifecycle import FINAL
from ..models import AbstractAttempt
from ..store import store_for
from .endings import GONE
from .pauses import Pauses
from .waiting import AsyncWait, Question, database_of


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an attempt is.

    `percent`, `note`: as its target said last; None and empty while it has said nothing. `state`:
    a status, or "running"; "gone" when it was deleted.
    """

    percent: int | None
    note: str
    state: str

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL or self.state == GONE


class Watched(Question):
    """Is it further than at the last answer?"""

    progress = Progress(None, "", "")

    def __init__(self, attempt: AbstractAttempt) -> None:
        super().__init__([database_of(attempt)])
        self._attempt = attempt

    def ask(self) -> bool:
        before, self.progress = self.progress, self._look()
        return self.progress != before

    def unanswered(self) -> str:
        return f"{self._attempt} {self._attempt.pk} is {self.progress.state}"

    def _look(self) -> Progress:
        rows = store_for(database_of(self._attempt)).attempts.filter(pk=self._attempt.pk)
        row = rows.only("status", "claimed_by", "progress", "progress_note").first()
        if row is None:
            return Progress(self.progress.percent, self.progress.note, GONE)
        return Progress(row.progress, row.progress_note, row.state)


async def watch(
    attempt: AbstractAttempt,
    timeout: float | timedelta | None = None,  # noqa: ASYNC109 the same surface as `result`
) -> AsyncIterator[Progress]:
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
