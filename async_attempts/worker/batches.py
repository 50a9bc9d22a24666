"""How much to claim at once, and when to record it."""

from __future__ import annotations

import time
from typing import Final

BATCH_SECONDS: Final = 0.05
"""A claim takes about what can be performed in this time."""

FAIR_SECONDS: Final = 0.5
"""What was claimed and not begun after this time goes back to other workers."""

QUICK_SECONDS: Final = 0.005
"""Before a target that may take longer, what was performed so far is recorded."""


class BatchSize:
    """Follows the measured duration of executions, between 1 and the most that was asked for."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = min(most, 16)

    def learn(self, executions: int, seconds: float) -> None:
        """Note that `executions` of them took `seconds`."""
        if executions:
            fits = int(BATCH_SECONDS * executions / max(seconds, 1e-6))
            self.size = max(1, min(fits, self.size * 4, self.most))


class Pace:
    """How long each target took the last time."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}

    def is_quick(self, target: tuple[str, str]) -> bool:
        """Whether this target is known to end soon."""
        return self._last.get(target, BATCH_SECONDS) < QUICK_SECONDS

    def note(self, target: tuple[str, str], began: float) -> None:
        """Note that the execution that began at `began` (monotonic seconds) has ended."""
        self._last[target] = time.monotonic() - began
