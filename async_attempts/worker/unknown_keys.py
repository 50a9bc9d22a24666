"""A worker that lacks keys: it must not take attempts from those that have them, for ever."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from ..conf import settings
from ..exceptions import UnknownKey
from .memory import now
from .runner import Execution

logger = logging.getLogger("async_attempts")

IN_A_ROW: Final = 5


class UnknownKeys:
    """Stops claiming after several attempts in a row that this worker can't open."""

    def __init__(self, comes_to_an_end: bool) -> None:
        """`comes_to_an_end`: the work does by itself, so there is no use in a pause."""
        self._comes_to_an_end = comes_to_an_end
        self._in_a_row = 0
        self._until = 0.0

    @property
    def pause_claiming(self) -> bool:
        """Whether to claim nothing for now."""
        return now() < self._until

    def note(self, executions: Iterable[Execution]) -> None:
        """Count those that couldn't be opened."""
        for execution in executions:
            if not isinstance(execution.exception, UnknownKey):
                self._in_a_row = 0
                continue
            self._in_a_row += 1
            if self._in_a_row >= IN_A_ROW:
                self._pause()

    def _pause(self) -> None:
        pause = 0.0 if self._comes_to_an_end else settings().LEASE
        logger.error(
            "%d attempts in a row are sealed with keys that this worker doesn't have: check "
            "ASYNC_ATTEMPTS['KEYS']; claiming pauses for %.0f s",
            self._in_a_row,
            pause,
        )
        self._in_a_row = 0
        self._until = now() + pause
