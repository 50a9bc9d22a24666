"""What the loop asks of those who perform."""

from __future__ import annotations

from typing import Protocol


class Executor(Protocol):
    """Takes from the hand what is to begin, and brings back what has ended."""

    @property
    def performers(self) -> int:
        """How many can perform at once."""

    @property
    def first_batch(self) -> int:
        """How many to claim while nothing is known about how long they take."""

    @property
    def num_async(self) -> int:
        """How many are being performed that keep no performer busy."""

    def work(self, seconds: float, socket: int | None = None) -> bool:
        """Let what is in flight be performed: for so long, or until the loop is needed.

        True if there is something to read on `socket`.
        """
