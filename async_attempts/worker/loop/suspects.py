"""Attempts that were in hand when a worker died: performed alone, so that they harm no other."""

from __future__ import annotations

from typing import Final

from ..shared.shared_memory import now
from .in_flight import Hand
from .poller import Lookout

PATIENCE: Final = 2.0
"""Seconds that a hand is given to run empty; a slow target may keep it from that for hours."""


class Suspects:
    """When a worker takes one."""

    def __init__(self, hand: Hand, lookout: Lookout) -> None:
        self._hand = hand
        self._lookout = lookout
        self._is_alone = False

    def are_next(self) -> bool:
        """Whether one is to be claimed now."""
        return self._lookout.has_suspects and self._hand.is_empty

    def let_run_empty(self) -> bool:
        """Whether to claim nothing else for now."""
        if self._is_alone and not self._hand.is_empty:
            return True
        self._is_alone = False
        return self._lookout.has_suspects and not self.wait_too_long()

    def wait_too_long(self) -> bool:
        """Whether they wait for a hand that doesn't run empty."""
        lookout = self._lookout
        return lookout.has_suspects and now() - lookout.suspects_since > PATIENCE

    def took(self, claimed: int) -> None:
        """So many were claimed."""
        self._is_alone = bool(claimed)
        self._lookout.took_suspects(claimed)
