"""The attempts in flight, between the claim loop and the executors that perform them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable
from queue import Empty, SimpleQueue
from typing import Final, Protocol
from uuid import UUID

from ...pauses import Pauses
from ...store import Claim, Result, Store
from ..execution.acknowledge import Fence, acknowledge
from ..execution.announcer import Announcer, AtOnce
from ..execution.outcomes import PLAIN, RELEASED
from ..execution.progress import UnwrittenProgress
from ..execution.runner import Execution
from ..shared.shared_memory import now
from ..shared.wake_pipe import wake_nobody
from .queue_filter import QueueFilter
from .statistics import Statistics

FIRST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 1.0
"""Seconds after which an outcome is offered again whose row another transaction locks."""


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

    def work(self, seconds: float, socket: int | None = None) -> None:
        """Let what is in flight be performed for these seconds, or until the loop is needed.

        It is needed when `socket` has something to read, too.
        """


class InFlight:
    """The attempts in flight: the claiming thread adds and records, performers take and return.

    Outlives an outage of the database: what was performed is recorded when it is back.
    """

    def __init__(
        self,
        store: Store,
        queue_filter: QueueFilter | None = None,
        *,
        wake: Callable[[], None] = wake_nobody,
        recorded: Callable[[int], None] | None = None,
        announcer: Announcer | None = None,
    ) -> None:
        """`wake` is called by performers that bring something back, or have nothing to do.

        `recorded` gets the `offset` of each execution that is recorded.
        """
        self.store = store
        self.announcer = announcer or AtOnce()
        self.progress = UnwrittenProgress(store, self.announcer, wake)
        self.statistics = Statistics(store)
        self._queue_filter = queue_filter or QueueFilter(())
        self._wake = wake
        self._recorded = recorded
        self._unbegun: SimpleQueue[Claim | None] = SimpleQueue()
        self._ended: deque[Execution] = deque()
        self._unrecorded: list[Execution] = []
        self._locked: list[Execution] = []
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE, jitter=0.0)
        self.offer_at = 0.0
        # By identity: a new incarnation may claim what an earlier one is still performing.
        self._claims: dict[int, Claim] = {}
        self._given: deque[tuple[float, int]] = deque()
        self._taken = 0
        self._times_closed = store.dependencies.times_closed
        self.closed = False

    # --- called by performers

    def next(self) -> Claim | None:
        """Wait for the next claim to begin; None when there will be none any more."""
        try:
            return self._unbegun.get_nowait()
        except Empty:
            self._wake()
            return self._unbegun.get()

    def next_at_once(self) -> Claim | None:
        """The next claim to begin; None when there is none now."""
        try:
            return self._unbegun.get_nowait()
        except Empty:
            return None

    def ended(self, execution: Execution) -> None:
        """Bring back an execution, which is to be recorded."""
        self._ended.append(execution)
        self._wake()

    # --- called by the thread that claims

    @property
    def unbegun(self) -> int:
        """The number of claims that wait to begin."""
        return self._unbegun.qsize()

    @property
    def has_ended(self) -> bool:
        """True if there is something to collect."""
        return bool(self._ended)

    @property
    def to_record(self) -> int:
        """The number of executions that have ended and aren't recorded."""
        return len(self._ended) + len(self._unrecorded) + len(self._locked)

    @property
    def has_performed(self) -> bool:
        """True if something was performed that isn't recorded."""
        left = (*self._unrecorded, *self._locked)
        return self.has_ended or any(e.outcome is not RELEASED for e in left)

    @property
    def can_record(self) -> bool:
        """True if something has ended that isn't set aside for a while."""
        return bool(self._ended or self._unrecorded or (self._locked and now() >= self.offer_at))

    @property
    def seconds_to_offer(self) -> float | None:
        """The seconds until locked outcomes are offered again; None if there are none."""
        return max(0.0, self.offer_at - now()) if self._locked else None

    @property
    def begun(self) -> int:
        """The number of executions that are going on."""
        return max(0, len(self._claims) - self.unbegun - self.to_record)

    @property
    def begun_in_all(self) -> int:
        """The number of executions that have begun so far."""
        return self._taken - self.unbegun

    def __len__(self) -> int:
        """Return the number of attempts in flight."""
        return len(self._claims)

    @property
    def is_idle(self) -> bool:
        """True if nothing is going on, nor about to begin."""
        return len(self._claims) <= self.to_record

    @property
    def is_empty(self) -> bool:
        """True if nothing is in flight."""
        return not self._claims

    def ids_of(self, worker_id: UUID) -> list[UUID]:
        """Return the ids that this worker claimed; an earlier incarnation may have had the same."""
        return [claim.id for claim in self._claims.values() if claim.worker_id == worker_id]

    def take(self, claims: Iterable[Claim]) -> None:
        """Add claims that are to be performed."""
        count = 0
        for claim in claims:
            self._claims[id(claim)] = claim
            self._unbegun.put(claim)
            count += 1
        self._taken += count
        self._given.append((now(), self._taken))

    def take_ended(self, results: Iterable[Result]) -> None:
        """Add claims whose outcomes are known, and whose rows somebody else locks."""
        for claim, outcome in results:
            self._claims[id(claim)] = claim
            self._locked.append(Execution(claim, outcome))

    def seconds_unbegun(self) -> float:
        """Return for how long the next claim has waited to begin."""
        begun = self.begun_in_all
        while self._given and self._given[0][1] <= begun:
            self._given.popleft()
        return now() - self._given[0][0] if self._given else 0.0

    def give_back(self, passed_on: Iterable[Claim] = ()) -> None:
        """Release what hasn't begun, and those `passed_on`, when the rest is recorded.

        `passed_on`: claims that a performer has given to the event loop, where they wait.
        """
        while not self.closed and (claim := self.next_at_once()) is not None:
            self._unrecorded.append(Execution(claim, RELEASED))
            self._taken -= 1
        # The others of the same claim have begun.
        self._given.clear()
        self._unrecorded += [Execution(claim, RELEASED) for claim in passed_on]

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
        if locked:
            # Less and less often, until nothing that is offered is locked.
            self.offer_at = now() + self._pauses.next()
        elif not self._locked:
            self._pauses.reset()
        self.statistics.count(self._unrecorded, lost)
        before, self._times_closed = self._times_closed, self.store.dependencies.times_closed
        is_again = before != self._times_closed
        for execution in self._unrecorded:
            del self._claims[id(execution.claim)]
            is_again = is_again or execution.outcome not in PLAIN
            if self._recorded is not None and execution.offset is not None:
                self._recorded(execution.offset)
        recorded, self._unrecorded = self._unrecorded, []
        return self._wake_waiting(recorded) or is_again

    def _set_aside(self, locked: Collection[Fence]) -> None:
        """Offer these later: somebody else locks their rows."""
        self._locked += [e for e in self._unrecorded if _is_among(e, locked)]
        self._unrecorded = [e for e in self._unrecorded if not _is_among(e, locked)]

    def _wake_waiting(self, ended: Iterable[Execution]) -> bool:
        """Wake what waits for the slots of these; return True if something may have become due."""
        keys = {execution.claim.limit_key for execution in ended} - {""}
        if keys:
            self.store.limits.unpark(keys)
        if not self._queue_filter.any_held_back:
            return bool(keys)
        queues = {execution.claim.queue for execution in ended}
        return self._queue_filter.ended(queues) or bool(keys)

    def close(self, performers: int) -> None:
        """Let this number of performers end: there will be nothing more to begin."""
        self.closed = True
        for _ in range(performers):
            self._unbegun.put(None)


def _is_among(execution: Execution, fences: Collection[Fence]) -> bool:
    return not execution.recorded and execution.claim.fence in fences
