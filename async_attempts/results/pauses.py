"""How long one who waits sleeps between two looks at the database."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from ..models.options import timeout_seconds

FIRST: Final = 0.005
GROWTH: Final = 1.5
LONGEST: Final = 0.5
"""Seconds between two looks while nothing is heard."""

SHORTEST: Final = 0.002
SHARE: Final = 0.01
LONGEST_DEAFNESS: Final = 0.1
"""Seconds that pass between two looks whatever is heard; and a share of what was waited already,
since where much ends much is heard."""


class Pauses:
    """Ever longer ones, until the timeout is over."""

    def __init__(self, timeout: float | timedelta | None) -> None:
        """`timeout`: seconds or a timedelta; None: for ever. Raises InvalidOption."""
        self.timeout = timeout_seconds(timeout)
        self._began = self._looked = time.monotonic()
        self._next = FIRST

    @property
    def are_over(self) -> bool:
        """Whether there was enough time for the answer."""
        return time.monotonic() - self._began >= self.timeout

    def next(self) -> float:
        """After a look: seconds until the next one, if nothing is heard."""
        self._looked = time.monotonic()
        pause, self._next = self._next, min(self._next * GROWTH, max(LONGEST, self._next))
        return max(0.0, min(pause, self._began + self.timeout - self._looked))

    def deafness(self) -> float:
        """After something was heard: seconds until it may be looked."""
        waited = self._looked - self._began
        least = min(max(SHORTEST, SHARE * waited), LONGEST_DEAFNESS)
        return max(0.0, self._looked + least - time.monotonic())

    def begin_anew(self) -> None:
        """Something has happened: more may do soon. The timeout stays as it is."""
        self._next = FIRST
