"""Executions that people want interrupted: looked for in the database, and raised in the target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from ...store import Store
from ..shared.shared_memory import now
from .timeouts import Deadline

INTERVAL: Final = 2.0
"""Seconds between two looks. What takes less time is never asked for."""


class Interruptible(Protocol):
    """Performs targets that can be interrupted."""

    def deadlines(self) -> Iterable[Deadline]:
        """Return the deadlines of what is being performed; any thread may ask."""

    def heed(self, deadline: Deadline) -> None:
        """Heed a deadline that another thread has brought forward."""


class Interruptions:
    """Looks for executions that are to be interrupted; used by the thread that claims."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.performers: list[Interruptible] = []
        self._seen: set[Deadline] = set()
        self._next_look = 0.0

    def look_if_due(self) -> None:
        """Interrupt what people want interrupted, if it has been performed since the last look."""
        moment = now()
        if moment < self._next_look or not self.performers:
            return
        self._next_look = moment + INTERVAL
        running = {one: performer for performer in self.performers for one in performer.deadlines()}
        long, self._seen = running.keys() & self._seen, set(running)
        claims = [deadline.claim for deadline in long if deadline.claim is not None]
        if not claims:
            return
        wanted = self.store.outcomes.interrupted(claims)
        for deadline in long:
            reason = None if deadline.claim is None else wanted.get(deadline.claim.fence)
            if reason is not None and deadline.interrupt(reason):
                running[deadline].heed(deadline)
