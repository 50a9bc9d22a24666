"""A limit of the looks at the database that notifications cause while there is nothing to find.

A channel of PostgreSQL has no permissions: any role that may connect can notify.
"""

from __future__ import annotations

import time
from typing import Final

BURST: Final = 4
PER_SECOND: Final = 16.0
"""Both together allow at most 20 looks in any second."""
A_TOKEN: Final = 1 - 1e-6
"""The least that counts as a token, for rounding errors."""


class LookRate:
    """A token bucket: each look takes a token, and one that finds something fills the bucket."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._filled_at = time.monotonic()

    def take(self) -> None:
        """Count a look."""
        self._fill()
        self._tokens = max(0.0, self._tokens - 1)

    def found(self) -> None:
        """Forget the looks before one that found something."""
        self._tokens = float(BURST)

    @property
    def seconds(self) -> float:
        """Seconds until the next look is allowed; 0.0 if it is so now."""
        if self._tokens < A_TOKEN:
            self._fill()
        return (1 - self._tokens) / PER_SECOND if self._tokens < A_TOKEN else 0.0

    def _fill(self) -> None:
        moment = time.monotonic()
        self._tokens = min(BURST, self._tokens + (moment - self._filled_at) * PER_SECOND)
        self._filled_at = moment
