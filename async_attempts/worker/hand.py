"""What one incarnation of a worker has in hand: claims not begun, executions not recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from uuid import UUID

from ..lifecycle import Released
from ..store import Claim, Store
from .acknowledging import acknowledge
from .runner import Execution


class Hand:
    """Outlives an outage of the database: what was performed is recorded when it is back."""

    def __init__(self, store: Store, worker_id: UUID) -> None:
        self.store = store
        self.worker_id = worker_id
        self._unbegun: deque[Claim] = deque()
        self._unrecorded: list[Execution] = []

    @property
    def unbegun(self) -> int:
        """How many claims wait to begin."""
        return len(self._unbegun)

    def take(self, claims: Iterable[Claim]) -> None:
        """These were claimed."""
        self._unbegun.extend(claims)

    def next_target(self) -> tuple[str, str]:
        """What the next execution will call."""
        return self._unbegun[0].target, self._unbegun[0].method_name

    def begin(self) -> Claim:
        """The next claim, which is going to be performed now."""
        return self._unbegun.popleft()

    def ended(self, execution: Execution) -> None:
        """This was performed, and is to be recorded."""
        self._unrecorded.append(execution)

    def give_back(self) -> None:
        """What hasn't begun is released, with its count, when the rest is recorded."""
        self._unrecorded += [Execution(claim, Released()) for claim in self._unbegun]
        self._unbegun.clear()

    def record(self) -> None:
        """Record what has ended; all of it stays in hand when the database fails."""
        if self._unrecorded:
            acknowledge(self.store, self.worker_id, self._unrecorded)
            self._unrecorded.clear()
