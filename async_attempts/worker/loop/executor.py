"""The protocol between the claim loop and the executors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ...store import Claim


class Executor(Protocol):
    """Performs claims that are in flight, and brings back executions."""

    @property
    def performers(self) -> int:
        """The number of claims that can be performed at once."""

    @property
    def is_alone(self) -> bool:
        """True if the loop's own thread performs, and no other process takes the suspects."""

    @property
    def first_batch(self) -> int:
        """The size of a claim as long as no duration is known."""

    @property
    def num_async(self) -> int:
        """The number of executions that keep no performer busy."""

    def seconds_waiting(self) -> float:
        """Return for how long the next claim that was passed on has waited to begin."""

    def give_back(self) -> Iterable[Claim]:
        """Return the claims that were passed on, and haven't begun."""

    def work(self, seconds: float, socket: int | None = None) -> bool:
        """Let what is in flight be performed for these seconds, or until the loop is needed.

        True if there is something to read on `socket`.
        """
