"""The calling thread performs: inside a test's transaction, or where the caller wants to see it."""

from __future__ import annotations

from ..execution.runner import Runner
from ..loop.batch_size import BATCH_SECONDS
from ..loop.in_flight import Hand
from ..shared.shared_memory import now
from ..shared.stop_event import Stopping


class Inline:
    """One attempt after the other, in between of what the loop does."""

    performers = 1
    first_batch = 16
    elsewhere = 0

    def __init__(self, hand: Hand, runner: Runner, stopping: Stopping) -> None:
        self._hand = hand
        self._runner = runner
        self._stopping = stopping

    def work(self, seconds: float, socket: int | None = None) -> bool:
        """Perform for about as long as a batch should take; wait only when there is nothing."""
        if not self._hand.unbegun:
            return self._stopping.bell.wait(seconds, socket)
        until = now() + BATCH_SECONDS
        while now() < until and not self._stopping.is_set():
            if (claim := self._hand.next_at_once()) is None:
                break
            if (execution := self._runner.perform(claim)) is not None:
                self._hand.ended(execution)
        return False
