"""Attempts that were in flight when a worker died: performed alone, so that they harm no other."""

from __future__ import annotations

from typing import Final

from ..shared.shared_memory import now
from .in_flight import InFlight
from .poller import Poller

PATIENCE: Final = 2.0
"""Seconds that a hand is given to run empty; a slow target may keep it from that for hours."""


class Suspects:
    """When a worker takes one."""

    def __init__(self, in_flight: InFlight, poller: Poller) -> None:
        self._in_flight = in_flight
        self._poller = poller
        self._is_alone = False

    def are_next(self) -> bool:
        """Whether one is to be claimed now."""
        return self._poller.has_suspects and self._in_flight.is_empty

    def let_run_empty(self) -> bool:
        """Whether to claim nothing else for now."""
        if self._is_alone and not self._in_flight.is_empty:
            return True
        self._is_alone = False
        return self._poller.has_suspects and not self.wait_too_long()

    def wait_too_long(self) -> bool:
        """Whether they wait for a hand that doesn't run empty."""
        poller = self._poller
        return poller.has_suspects and now() - poller.suspects_since > PATIENCE

    def took(self, claimed: int) -> None:
        """So many were claimed."""
        self._is_alone = bool(claimed)
        self._poller.took_suspects(claimed)
