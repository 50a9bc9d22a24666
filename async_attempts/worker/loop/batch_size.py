"""How much to claim at once, and when to record it."""

from __future__ import annotations

from typing import Final

from ..shared.shared_memory import now

BATCH_SECONDS: Final = 0.05
"""A claim takes about what can be performed in this time."""

FAIR_SECONDS: Final = 0.5
"""What was claimed and not begun after this time goes back to other workers."""

RECORD_SECONDS: Final = 0.003
"""What ends within this time is recorded together."""

GROWTH: Final = 4


class BatchSize:
    """Follows the measured rate of executions; between 0 and the most that was asked for."""

    def __init__(self, most: int, least: int) -> None:
        """`least`: what is claimed at once while nothing is known."""
        self._most = most
        self._least = least
        self._size = min(most, least)
        self._progress = 0
        self._since = now()
        self._until = 0.0

    def idle(self) -> None:
        """Nothing is going on: from here on time doesn't count."""
        self._until = self._until or now()

    def learn(self, progress: int) -> None:
        """Before the next claim: what fits the time that a batch should take?

        `progress`: how many executions in all have ended, or keep no performer busy.
        """
        moment = now()
        if (count := progress - self._progress) > 0:
            seconds = max((self._until or moment) - self._since, 1e-6)
            fits = int(BATCH_SECONDS * count / seconds)
            grown = max(self._size, self._least) * GROWTH
            # What ends together makes short windows differ: shrink by halves.
            self._size = min(max(fits, self._size // 2), grown, self._most)
        self._progress, self._since, self._until = progress, moment, 0.0

    def stuck(self) -> None:
        """Nothing begins: claim only for performers that are idle, until something has ended."""
        self._size = 0

    def wanted(self, unbegun: int, idle: int) -> int:
        """How many to claim now, with so many claims unbegun and so many performers idle."""
        wanted = max(self._size, min(idle, self._most))
        return wanted - unbegun if unbegun * 2 <= wanted else 0
