"""One event loop for all `async def` targets of a process, many of them at once."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final, NamedTuple

from ...encryption import may_block
from ...store import TOO_LATE, Claim, ProgressReport
from ..execution.current import _current, ignore_progress
from ..execution.outcomes import RELEASED
from ..execution.prepare import Prepared
from ..execution.runner import Execution, Lease
from ..execution.timeouts import Deadline
from ..loop.batch_size import FAIR_SECONDS
from ..shared.shared_memory import ChildState, now
from .async_execution import AsyncExecution
from .call_threads import CLOSING, CallThreads, SharedThread

logger = logging.getLogger("async_attempts")

READY_SHARE: Final = 8


class Waiting(NamedTuple):
    """A call that waits for room among the tasks."""

    ready: Prepared
    since: float


class EventLoop:
    """Runs in a thread of its own. What it performs keeps no performer busy."""

    def __init__(
        self,
        tasks: int,
        ended: Callable[[Execution], None],
        lease: Lease,
        child_state: ChildState | None = None,
        say: Callable[[ProgressReport], None] = ignore_progress,
        *,
        lost: Callable[[], None] | None = None,
    ) -> None:
        """`lost` is called when the loop has ended without being closed: nothing goes on then."""
        self._most = tasks
        self._lease = lease
        # Some are ready to begin as soon as another ends, without a thread to be woken for that.
        self._room = threading.Semaphore(tasks + tasks // READY_SHARE)
        self._waiting: deque[Waiting] = deque()
        self._ended = ended
        self._child_state = child_state
        self._say = say
        self._lost = lost
        self._is_closing = False
        self._loop = asyncio.new_event_loop()
        self._call_threads = CallThreads(None, "asyncio")
        self._loop.set_default_executor(self._call_threads)
        # Not the call threads: calls of targets there may never end.
        self._sealing_threads = CallThreads(None, "sealing")
        # For each execution; else it would be the one of the execution that ended before.
        self._context = copy_context()
        self._shared_thread = SharedThread()
        self._shared_thread.serve(self._context)
        self._tasks: set[asyncio.Task[None]] = set()
        self._executions: set[AsyncExecution] = set()
        self._thread = threading.Thread(target=self._live, name="event loop", daemon=True)
        self.running = 0

    def start(self) -> None:
        self._thread.start()

    def perform(self, ready: Prepared) -> bool:
        """Let the loop perform it; waits until there is room, but not for long. Never raises."""
        if not self._room.acquire(timeout=FAIR_SECONDS):
            return False
        self._waiting.append(Waiting(ready, now()))
        if self.running < self._most:
            # A loop that has ended takes nothing: what waits is given back.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._fill)
        return True

    def deadlines(self) -> Iterator[Deadline]:
        """Yield the deadlines of the targets that are being called; any thread may ask."""
        for execution in self._executions.copy():
            if (deadline := execution.deadline) is not None:
                yield deadline

    def heed(self, deadline: Deadline) -> None:
        """Heed the deadline of an execution, which another thread has brought forward."""
        if deadline.on_move is not None:
            with suppress(RuntimeError):
                deadline.on_move()

    def seconds_waiting(self) -> float:
        """Return for how long the next one has waited to begin."""
        try:
            return now() - self._waiting[0].since
        except IndexError:
            return 0.0

    def give_back(self) -> Iterator[Claim]:
        """Yield the claims that haven't begun."""
        while self._waiting:
            try:
                waiting = self._waiting.popleft()
            except IndexError:
                return
            self._room.release()
            yield waiting.ready.claim

    def close(self) -> None:
        """End; nothing is being performed any more."""
        self._is_closing = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        # Tasks that targets have left there may keep it for ever.
        self._thread.join(2 * CLOSING)

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            while not self._is_closing:
                self._run()
            # Not the default executor: a thread that a target left there may never end.
            self._loop.run_until_complete(self._generators_ended())
        except BaseException as error:
            logger.critical("the event loop of async targets ended: %s", type(error).__name__)
        for threads in (self._call_threads, self._sealing_threads, self._shared_thread):
            # A target may have shut them down already.
            with suppress(RuntimeError):
                threads.close()
        with suppress(Exception):
            self._loop.close()
        if self._lost is not None and not self._is_closing:
            self._lost()

    async def _generators_ended(self) -> None:
        """Close what targets have left half-way; what awaits something may do so for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING):
                await self._loop.shutdown_asyncgens()

    def _run(self) -> None:
        """Let the loop run until something stops it, a target's own `loop.stop()` too."""
        try:
            self._loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            # asyncio lets these leave the loop; what awaits the task gets them as well.
            logger.error("%s in a task that an async target has made", type(error).__name__)

    def _start(self, work: Coroutine[Any, Any, None], then: Callable[[], None]) -> None:
        """Do `work` in a task, and `then` in any case: a target may cancel whatever it finds."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("an async target could not be performed: %s", type(error).__name__)
            then()

        task = self._loop.create_task(work, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(ended)

    def _fill(self) -> None:
        while self.running < self._most:
            try:
                waiting = self._waiting.popleft()
            except IndexError:
                return
            self.running += 1
            execution = AsyncExecution(waiting.ready, self._child_state)
            self._executions.add(execution)
            self._start(self._perform(execution), partial(self._tidy, execution))

    async def _perform(self, execution: AsyncExecution) -> None:
        """Call the target. Nothing is awaited after it: it may have cancelled this very task."""
        claim = execution.ready.claim
        # It may have waited here while the process was frozen: see Runner.perform.
        moment = now()
        if moment >= self._lease.holds_until:
            execution.result = Execution(claim, RELEASED)
            return
        if claim.is_late(moment):
            execution.result = Execution(claim, TOO_LATE)
            return
        _current.set(execution.begin(self._say))
        try:
            execution.returned = await self._called(execution)
        except BaseException as error:
            execution.raised = error

    async def _called(self, execution: AsyncExecution) -> Any:
        """Await the target within its timeout; returns what it returns."""
        ready = execution.ready
        call: Any = ready.resolved.function
        try:
            return await call(*ready.arguments.args, **ready.arguments.kwargs)
        except asyncio.CancelledError as error:
            if execution.was_told:
                raise execution.told() from error
            raise

    def _tidy(self, execution: AsyncExecution) -> None:
        """Conclude an execution whose target has ended, once its sync calls have, too."""
        is_calling = self._shared_thread.call_of(execution.current) is not None
        waits = is_calling or may_block() or execution.may_wait
        if execution.current is not None and waits:
            self._start(self._tidied(execution), partial(self._tidy_on, execution))
        else:
            execution.conclude()
            self._over(execution)

    async def _tidied(self, execution: AsyncExecution) -> None:
        while (call := self._shared_thread.call_of(execution.current)) is not None:
            # It keeps all others from that thread: as long as it goes on, its execution does.
            await asyncio.gather(asyncio.wrap_future(call), return_exceptions=True)
        execution.cannot_be_told()
        # A project's own cipher seals what it came to, and may wait for something.
        try:
            await self._loop.run_in_executor(self._sealing_threads, execution.conclude_in_thread)
        except RuntimeError:
            # There is no thread to be had.
            execution.conclude()

    def _tidy_on(self, execution: AsyncExecution) -> None:
        """Tidy again if another target has cancelled that."""
        if execution.result is None:
            self._tidy(execution)
        else:
            self._over(execution)

    def _over(self, execution: AsyncExecution) -> None:
        """Let the next one begin, and bring this one back, whatever has become of it."""
        execution.end()
        self._executions.discard(execution)
        self.running -= 1
        self._room.release()
        try:
            self._fill()
            if not self.running:
                self._shared_thread.rest()
        finally:
            self._ended(execution.result or execution.given_back())
