"""One event loop for all `async def` targets of a process, many of them at once."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from typing import Any, Final, NamedTuple

from ...conf import settings
from ...exceptions import AttemptTimeout
from ...lifecycle import Outcome
from ...store import TOO_LATE, Claim, Said
from ..batches import FAIR_SECONDS
from ..current import CurrentAttempt, _current, unheard
from ..errors import outcome_of_target
from ..memory import Page, now
from ..preparing import Prepared
from ..runner import RELEASED, Execution, Lease, kept, refuse_unawaited
from ..timeouts import MESSAGE, Deadline
from .call_threads import CallThreads, SensitiveThread

READY_SHARE: Final = 8


class Waiting(NamedTuple):
    """What waits for a place among the tasks."""

    ready: Prepared
    since: float


class EventLoop:
    """Runs in a thread of its own. What it performs keeps no performer busy."""

    def __init__(
        self,
        tasks: int,
        ended: Callable[[Execution], None],
        lease: Lease,
        page: Page | None = None,
        say: Callable[[Said], None] = unheard,
    ) -> None:
        self._most = tasks
        self._lease = lease
        # Some are ready to begin as soon as another ends, without a thread to be woken for that.
        self._places = threading.Semaphore(tasks + tasks // READY_SHARE)
        self._waiting: deque[Waiting] = deque()
        self._ended = ended
        self._page = page
        self._say = say
        self._loop = asyncio.new_event_loop()
        self._call_threads = CallThreads(None, "asyncio")
        self._loop.set_default_executor(self._call_threads)
        self._sensitive_thread = SensitiveThread()
        # Not that of the one whose end lets the next one begin.
        self._context = copy_context()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._live, name="event loop", daemon=True)
        self._thread.start()
        self.in_flight = 0

    def perform(self, ready: Prepared) -> bool:
        """Let the loop perform it; waits until there is room, but not for long."""
        if not self._places.acquire(timeout=FAIR_SECONDS):
            return False
        self._waiting.append(Waiting(ready, now()))
        if self.in_flight < self._most:
            self._loop.call_soon_threadsafe(self._fill)
        return True

    def seconds_waiting(self) -> float:
        """How long the next one has waited to begin."""
        try:
            return now() - self._waiting[0].since
        except IndexError:
            return 0.0

    def give_back(self) -> Iterator[Claim]:
        """What hasn't begun."""
        while self._waiting:
            try:
                waiting = self._waiting.popleft()
            except IndexError:
                return
            self._places.release()
            yield waiting.ready.claim

    def close(self) -> None:
        """End; nothing is being performed any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            # Not the default executor: a thread that a target left there may never end.
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._call_threads.close()
            self._sensitive_thread.close()
            self._loop.close()

    def _fill(self) -> None:
        while self.in_flight < self._most:
            try:
                waiting = self._waiting.popleft()
            except IndexError:
                return
            self.in_flight += 1
            task = self._loop.create_task(
                self._perform(waiting.ready), context=self._context.copy()
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _perform(self, ready: Prepared) -> None:
        # It may have waited here while the process was frozen: see Runner.perform.
        moment = now()
        if moment >= self._lease.holds_until:
            execution = Execution(ready.claim, RELEASED)
        elif ready.claim.is_late(moment):
            execution = Execution(ready.claim, TOO_LATE)
        else:
            execution = await self._begun(ready)
        self.in_flight -= 1
        self._places.release()
        self._fill()
        if not self.in_flight:
            self._sensitive_thread.rest()
        self._ended(execution)

    async def _begun(self, ready: Prepared) -> Execution:
        claim, exception = ready.claim, None
        began = now()
        deadline = Deadline(began + ready.timeout)
        place = None
        if self._page is not None:
            until = deadline.at + settings().TIMEOUT_GRACE
            place = self._page.begin(claim.id_bytes, claim.claim_seq, until)
        try:
            outcome = await self._called(ready, deadline, place)
        except BaseException as error:
            exception = error
            outcome = outcome_of_target(claim, ready.resolved.policy, error)
        finally:
            deadline.on_move = None
            if self._page is not None and place is not None:
                self._page.move(place, 0.0)
        return Execution(claim, outcome, exception, False, place, now() - began)

    async def _called(self, ready: Prepared, deadline: Deadline, place: int | None) -> Outcome:
        """Await the target within its timeout."""
        _current.set(CurrentAttempt(ready.claim, deadline, self._say))
        scope = asyncio.timeout(ready.timeout)

        def moved(at: float) -> None:
            if self._page is not None and place is not None:
                self._page.move(place, at + settings().TIMEOUT_GRACE)
            # The target may call from a thread of its own.
            when = self._loop.time() + at - now()
            self._loop.call_soon_threadsafe(self._reschedule, scope, when)

        deadline.on_move = moved
        try:
            async with scope:
                call: Any = ready.resolved.function
                result = await call(*ready.arguments.args, **ready.arguments.kwargs)
        except TimeoutError as error:
            if scope.expired():
                raise AttemptTimeout(MESSAGE) from error
            raise
        refuse_unawaited(result)
        return kept(ready.claim, result)

    def _reschedule(self, scope: asyncio.Timeout, when: float) -> None:
        # It may have ended in the meantime.
        with suppress(RuntimeError):
            scope.reschedule(when)
