"""The size of claims, from the measured rate of executions."""

from __future__ import annotations

from typing import Final

from ..shared.shared_memory import now

BATCH_SECONDS: Final = 0.05
"""Seconds in which the attempts of one claim can be performed, about."""

FAIR_SECONDS: Final = 0.5
"""Seconds after which claims that haven't begun go back to other workers."""

RECORD_SECONDS: Final = 0.003
"""Seconds within which executions that end are recorded together."""

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
        """Stop the clock: nothing is going on."""
        self._until = self._until or now()

    def learn(self, progress: int) -> None:
        """Learn, before the next claim, how many fit the time that a batch should take.

        `progress`: how many executions in all have ended, or keep no performer busy.
        """
        moment = now()
        if (count := progress - self._progress) > 0:
            seconds = max((self._until or moment) - self._since, 1e-6)
            fits = int(BATCH_SECONDS * count / seconds)
            grown = max(self._size, self._least) * GROWTH
            # Executions that end together make short windows differ: shrink by halves.
            self._size = min(max(fits, self._size // 2), grown, self._most)
        self._progress, self._since, self._until = progress, moment, 0.0

    def stuck(self) -> None:
        """Claim only for idle performers until something has ended: nothing begins now."""
        self._size = 0

    def wanted(self, unbegun: int, idle: int) -> int:
        """Return the number to claim now, with `unbegun` claims in flight and `idle` performers."""
        wanted = max(self._size, min(idle, self._most))
        return wanted - unbegun if unbegun * 2 <= wanted else 0
