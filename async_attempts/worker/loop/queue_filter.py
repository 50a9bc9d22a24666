"""Which queues a claim may ask: not those that are paused, nor those that are at their limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from ..shared.shared_memory import now

SHORTEST: Final = 0.05
LONGEST: Final = 1.0
"""Seconds after which a queue whose places are all held elsewhere is asked again; each time in vain
they double."""


class QueueFilter:
    """Shut behind a claim that was held back, until a token comes or an attempt ends."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = queues
        self._paused: frozenset[str] = frozenset()
        self._held_back_until: dict[str, float] = {}
        self._waits: dict[str, float] = {}

    @property
    def queues(self) -> Sequence[str]:
        """The queues to be asked now, in their order."""
        if not (self._held_back_until or self._paused):
            return self._queues
        moment = now()
        self._held_back_until = {
            queue: until for queue, until in self._held_back_until.items() if until > moment
        }
        return [q for q in self._queues if q not in self._held_back_until and q not in self._paused]

    @property
    def any_held_back(self) -> bool:
        """Whether a queue has something due that its limits hold back."""
        return bool(self._held_back_until)

    @property
    def seconds(self) -> float | None:
        """Until the first of those that are shut is open again."""
        return (
            max(0.0, min(self._held_back_until.values()) - now()) if self._held_back_until else None
        )

    def pause(self, paused: frozenset[str]) -> bool:
        """These are paused; whether others aren't any more."""
        before, self._paused = self._paused, paused
        return not before <= paused

    def hold_back(self, queues: Mapping[str, float | None]) -> None:
        """The limits of these leave nothing for so many seconds; None: until an attempt ends."""
        for queue, seconds in queues.items():
            self._held_back_until[queue] = now() + (
                self._wait(queue) if seconds is None else seconds
            )

    def _wait(self, queue: str) -> float:
        wait = self._waits.get(queue, SHORTEST)
        self._waits[queue] = min(wait * 2, LONGEST)
        return wait

    def ended(self, queues: Collection[str]) -> bool:
        """Attempts of these have ended; whether one of them was shut."""
        opened = False
        for queue in queues:
            self._waits.pop(queue, None)
            opened = self._held_back_until.pop(queue, None) is not None or opened
        return opened
