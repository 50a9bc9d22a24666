"""The pauses between tries: each longer than the one before, up to a limit, with jitter."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

JITTER: Final = 0.5


def jittered(seconds: float, share: float = JITTER) -> float:
    """Return a random time up to `seconds`; the last `share` of it is random (0: none, 1: all).

    Processes that fail together then don't try again together.
    """
    return seconds * random.uniform(1 - share, 1) if share else seconds


class Pauses:
    """An endless series of pauses, in seconds.

    `first`: the first one; each later one is `growth` times as long, at most `longest`. `jitter`:
    the share of each that is random.
    """

    __slots__ = ("_coming", "first", "growth", "jitter", "longest")

    def __init__(
        self, first: float, longest: float, *, growth: float = 2.0, jitter: float = JITTER
    ) -> None:
        self.first = first
        self.longest = longest
        self.growth = growth
        self.jitter = jitter
        self._coming = min(first, longest)

    def next(self) -> float:
        pause = self._coming
        self._coming = min(pause * self.growth, self.longest)
        return jittered(pause, self.jitter)

    def take(self, number: int) -> Iterator[float]:
        """Yield the next `number` pauses."""
        for _ in range(number):
            yield self.next()

    def reset(self) -> None:
        """Begin again with the first pause, after a success."""
        self._coming = min(self.first, self.longest)
