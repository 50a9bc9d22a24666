"""Backpressure: a queue that says how many of its attempts may be pending takes no more."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from ..conf import bounded_queues
from ..exceptions import QueueFull
from ..lifecycle import Status
from ..models import AbstractAttempt
from .depending import in_batches
from .linking import Linking

UNCOUNTED: Final = 4
"""A count serves for a fourth of the room that it found: to count each time takes longer the fuller
a queue is."""

COUNT_SERVES: Final = 1.0
"""Seconds."""


class Backlog(Linking):
    """How many are pending, of the queues that have a limit to that."""

    @cached_property
    def _room(self) -> dict[tuple[str, int], tuple[float, int]]:
        """Until when how many more may be enqueued without counting, by queue and its limit."""
        return {}

    def require_room(self, attempts: Sequence[AbstractAttempt]) -> None:
        """Raises QueueFull if one of their queues has too many pending for these beside them.

        What waits for others to end is let in, and so are the ticks of schedules.
        """
        bounded = bounded_queues()
        if not bounded:
            return
        new = Counter(
            attempt.queue
            for attempt in attempts
            if attempt.queue in bounded and not attempt.edges and attempt.schedule is None
        )
        for queue, number in new.items():
            self._require_room(queue, bounded[queue], number, attempts)

    def _require_room(
        self, queue: str, most: int, new: int, attempts: Sequence[AbstractAttempt]
    ) -> None:
        until, room = self._room.get((queue, most), (0.0, 0))
        if room >= new and time.monotonic() < until:
            self._room[queue, most] = until, room - new
            return
        # No more than that are counted, however many there are.
        pending = self.attempts.filter(queue=queue, status=Status.PENDING)[:most].count()
        left = most - pending - new
        if left < 0 and left + self._there_already(queue, attempts) < 0:
            raise QueueFull(queue, most, new)
        self._room[queue, most] = time.monotonic() + COUNT_SERVES, max(0, left) // UNCOUNTED

    def _there_already(self, queue: str, attempts: Sequence[AbstractAttempt]) -> int:
        """How many of those of this queue aren't new: the row with their token is there."""
        mine = (a for a in attempts if a.queue == queue and not a.edges and a.schedule is None)
        keys = {attempt.unique_key for attempt in mine} - {None}
        return sum(
            self.attempts.filter(unique_key__in=some).count() for some in in_batches(sorted(keys))
        )
