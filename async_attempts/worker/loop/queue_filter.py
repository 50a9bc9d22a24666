"""The queues that a claim may ask: neither paused nor at their limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final

from ...pauses import Pauses
from ..shared.shared_memory import now

FULL_PAUSES: Final = partial(Pauses, 0.05, 1.0, jitter=0.0)
"""Seconds after which a queue whose slots are all held elsewhere is asked again."""


class QueueFilter:
    """Leaves out paused queues, and full ones until a token comes or an attempt ends."""

    def __init__(self, queues: Sequence[str]) -> None:
        self._queues = queues
        self._paused: frozenset[str] = frozenset()
        self._held_back_until: dict[str, float] = {}
        self._pauses = defaultdict[str, Pauses](FULL_PAUSES)

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
        """True if a queue has something due that its limits hold back."""
        return bool(self._held_back_until)

    @property
    def seconds(self) -> float | None:
        """The seconds until the first full queue may be asked again; None if none is full."""
        if not self._held_back_until:
            return None
        return max(0.0, min(self._held_back_until.values()) - now())

    def pause(self, paused: frozenset[str]) -> bool:
        """Note the paused queues; return True if another one isn't paused any more."""
        before, self._paused = self._paused, paused
        return not before <= paused

    def hold_back(self, queues: Mapping[str, float | None]) -> None:
        """Hold queues back for these seconds; None: until an attempt ends, or for a pause."""
        for queue, seconds in queues.items():
            pause = self._pauses[queue].next() if seconds is None else seconds
            self._held_back_until[queue] = now() + pause

    def ended(self, queues: Collection[str]) -> bool:
        """Note that attempts of these queues have ended; True if one of them was held back."""
        opened = False
        for queue in queues:
            self._pauses.pop(queue, None)
            opened = self._held_back_until.pop(queue, None) is not None or opened
        return opened
