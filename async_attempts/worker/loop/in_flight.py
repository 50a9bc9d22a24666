"""What a worker has in flight: claims not begun, executions not recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from queue import Empty, SimpleQueue
from typing import Final
from uuid import UUID

from ...store import Claim, Result, Store
from ..execution.acknowledge import Fence, acknowledge
from ..execution.announcer import Announcer, AtOnce
from ..execution.progress import UnwrittenProgress
from ..execution.runner import PLAIN, RELEASED, AsyncExecutor, Execution
from ..shared.shared_memory import now
from .queue_filter import QueueFilter
from .statistics import Statistics

FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 1.0
"""Seconds after which an outcome is offered again whose row another transaction locks."""


class InFlight:
    """Filled and emptied by the thread that claims; others take what is to begin, and bring back.

    Outlives an outage of the database: what was performed is recorded when it is back.
    """

    def __init__(
        self,
        store: Store,
        recorded: Callable[[int], None] | None = None,
        announcer: Announcer | None = None,
    ) -> None:
        self.store = store
        self.announcer = announcer or AtOnce()
        self.progress = UnwrittenProgress(store, self.announcer)
        self.statistics = Statistics(store)
        self._recorded = recorded
        self._unbegun: SimpleQueue[Claim | None] = SimpleQueue()
        self._ended: deque[Execution] = deque()
        self._unrecorded: list[Execution] = []
        self._locked: list[Execution] = []
        self._pause = FIRST_PAUSE
        self.offer_at = 0.0
        # By identity: a new incarnation may claim what an earlier one is still performing.
        self._claims: dict[int, Claim] = {}
        self._given: deque[tuple[float, int]] = deque()
        self._taken = 0
        self._times_closed = store.times_closed
        self.closed = False
        self.wake: Callable[[], None] | None = None
        self.async_executor: AsyncExecutor | None = None
        self.queue_filter: QueueFilter | None = None

    # --- by those who perform

    def next(self) -> Claim | None:
        """Wait for the next claim to begin; None when there will be none any more."""
        try:
            return self._unbegun.get_nowait()
        except Empty:
            if self.wake is not None:
                self.wake()
            return self._unbegun.get()

    def next_at_once(self) -> Claim | None:
        """The next claim to begin; None when there is none now."""
        try:
            return self._unbegun.get_nowait()
        except Empty:
            return None

    def ended(self, execution: Execution) -> None:
        """This was performed, and is to be recorded."""
        self._ended.append(execution)
        if self.wake is not None:
            self.wake()

    # --- by the one who claims

    @property
    def unbegun(self) -> int:
        """How many claims wait to begin."""
        return self._unbegun.qsize()

    @property
    def has_ended(self) -> bool:
        """Whether there is something to collect."""
        return bool(self._ended)

    @property
    def to_record(self) -> int:
        """How many executions have ended and aren't recorded."""
        return len(self._ended) + len(self._unrecorded) + len(self._locked)

    @property
    def has_performed(self) -> bool:
        """Whether something was performed that isn't recorded."""
        left = (*self._unrecorded, *self._locked)
        return self.has_ended or any(e.outcome is not RELEASED for e in left)

    @property
    def can_record(self) -> bool:
        """Whether something has ended that isn't set aside for a while."""
        return bool(self._ended or self._unrecorded or (self._locked and now() >= self.offer_at))

    @property
    def seconds_to_offer(self) -> float | None:
        """Until what is locked is offered again; None if nothing is."""
        return max(0.0, self.offer_at - now()) if self._locked else None

    @property
    def begun(self) -> int:
        """How many executions are going on."""
        return max(0, len(self._claims) - self.unbegun - self.to_record)

    @property
    def begun_in_all(self) -> int:
        """How many executions have begun so far."""
        return self._taken - self.unbegun

    def __len__(self) -> int:
        """How many attempts are in flight in all."""
        return len(self._claims)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is going on, nor about to begin."""
        return len(self._claims) <= self.to_record

    @property
    def is_empty(self) -> bool:
        """Whether nothing is in flight at all."""
        return not self._claims

    def ids_of(self, worker_id: UUID) -> list[UUID]:
        """Of all in flight that this incarnation claimed: an earlier one may have had the same."""
        return [claim.id for claim in self._claims.values() if claim.worker_id == worker_id]

    def take(self, claims: Iterable[Claim]) -> None:
        """These were claimed."""
        count = 0
        for claim in claims:
            self._claims[id(claim)] = claim
            self._unbegun.put(claim)
            count += 1
        self._taken += count
        self._given.append((now(), self._taken))

    def take_ended(self, results: Iterable[Result]) -> None:
        """These were claimed, aren't to be performed, and could not be recorded yet."""
        for claim, outcome in results:
            self._claims[id(claim)] = claim
            self._locked.append(Execution(claim, outcome))

    def seconds_unbegun(self) -> float:
        """How long the claim that is to begin next has waited for that."""
        begun = self._taken - self.unbegun
        while self._given and self._given[0][1] <= begun:
            self._given.popleft()
        here = now() - self._given[0][0] if self._given else 0.0
        return (
            here
            if self.async_executor is None
            else max(here, self.async_executor.seconds_waiting())
        )

    def give_back(self) -> None:
        """What hasn't begun is released, with its count, when the rest is recorded."""
        while not self.closed and (claim := self.next_at_once()) is not None:
            self._unrecorded.append(Execution(claim, RELEASED))
            self._taken -= 1
        # What was given together with them has begun.
        self._given.clear()
        if self.async_executor is not None:
            unbegun = self.async_executor.give_back()
            self._unrecorded += [Execution(claim, RELEASED) for claim in unbegun]

    def collect(self) -> list[Execution]:
        """Take over what has ended; returns what was performed since the last time."""
        ended = []
        while self._ended:
            ended.append(self._ended.popleft())
        self._unrecorded += ended
        return [execution for execution in ended if execution.outcome is not RELEASED]

    def record(self) -> bool:
        """Record what has ended; all of it stays in flight when the database fails.

        Outcomes whose rows somebody else locks stay, too, and are offered again. True if something
        may have become due by it.
        """
        if now() >= self.offer_at and self._locked:
            self._unrecorded += self._locked
            self._locked = []
        if not self._unrecorded:
            return False
        locked = set(self.progress.write_last(execution.claim for execution in self._unrecorded))
        if locked:
            self._set_aside(locked)
        lost, unrecorded = acknowledge(self.store, self._unrecorded, self.announcer)
        if unrecorded:
            locked.update(unrecorded)
            self._set_aside(unrecorded)
        self._plan_next_offer(bool(locked))
        self.statistics.count(self._unrecorded, lost)
        before, self._times_closed = self._times_closed, self.store.times_closed
        is_again = before != self._times_closed
        for execution in self._unrecorded:
            del self._claims[id(execution.claim)]
            is_again = is_again or execution.outcome not in PLAIN
            if self._recorded is not None and execution.offset is not None:
                self._recorded(execution.offset)
        recorded, self._unrecorded = self._unrecorded, []
        return self._let_in(recorded) or is_again

    def _set_aside(self, locked: Collection[Fence]) -> None:
        """Offer these later: somebody else locks their rows."""
        self._locked += [e for e in self._unrecorded if _is_among(e, locked)]
        self._unrecorded = [e for e in self._unrecorded if not _is_among(e, locked)]

    def _plan_next_offer(self, met_locks: bool) -> None:
        """Less and less often, until nothing that is offered is locked."""
        if met_locks:
            self.offer_at = now() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        elif not self._locked:
            self._pause = FIRST_PAUSE

    def _let_in(self, ended: Iterable[Execution]) -> bool:
        """Wake what waits for the places of these; whether something may have become due."""
        keys = {execution.claim.limit_key for execution in ended} - {""}
        if keys:
            self.store.wake(keys)
        if self.queue_filter is None or not self.queue_filter.any_held_back:
            return bool(keys)
        return self.queue_filter.ended({execution.claim.queue for execution in ended}) or bool(keys)

    def close(self, performers: int) -> None:
        """There will be nothing more to begin: so many performers may end."""
        self.closed = True
        for _ in range(performers):
            self._unbegun.put(None)


def _is_among(execution: Execution, fences: Collection[Fence]) -> bool:
    return not execution.recorded and execution.claim.fence in fences
