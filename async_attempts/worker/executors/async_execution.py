"""One call of an `async def` target, with its timeout and its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from django.db import connections

from ...conf import settings
from ...exceptions import AttemptCancelled, AttemptTimeout
from ...lifecycle import Outcome
from ...store import ProgressReport
from ..execution.current import CurrentAttempt
from ..execution.lost_executions import unexpected, without_outcome
from ..execution.outcomes import RELEASED, kept, outcome_of_target, refuse_unawaited
from ..execution.prepare import Prepared
from ..execution.retrying import may_wait
from ..execution.runner import Execution
from ..execution.timeouts import MESSAGE, Deadline
from ..shared.shared_memory import ChildState, now


class AsyncExecution:
    """An execution on the event loop; only its deadline may be moved by other threads."""

    def __init__(self, ready: Prepared, child_state: ChildState | None) -> None:
        self.ready = ready
        self.current: CurrentAttempt | None = None
        self.returned: Any = None
        self.raised: BaseException | None = None
        self.result: Execution | None = None
        self.was_told = False
        self._child_state = child_state
        self._offset: int | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, say: Callable[[ProgressReport], None]) -> CurrentAttempt:
        """Note that the target is called now, in the task that calls this."""
        self._began = now()
        ends_at = self._began + self.ready.timeout
        if self._child_state is not None:
            claim, until = self.ready.claim, ends_at + settings().TIMEOUT_GRACE
            self._offset = self._child_state.begin(claim.id_bytes, claim.claim_seq, until)
        self._deadline = Deadline(ends_at, self._child_state, self._offset, self.ready.claim)
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self.ready.timeout, self._tell)
        self._deadline.on_move = self._moved
        self.current = CurrentAttempt(self.ready, self._deadline, say)
        return self.current

    @property
    def deadline(self) -> Deadline | None:
        """The deadline of the target that is being called; None before and after that."""
        deadline: Deadline | None = getattr(self, "_deadline", None)
        return None if deadline is None or deadline.on_move is None else deadline

    def told(self) -> AttemptTimeout | AttemptCancelled:
        """Return the error for which the task was cancelled."""
        return self._deadline.error(self._deadline.interrupted_for or MESSAGE)

    def conclude(self) -> None:
        """Make an outcome of what the target has returned or raised; seals it. Never raises."""
        if self.result is not None or self.current is None:
            return
        seconds = now() - self._began
        claim, error = self.ready.claim, self.raised
        try:
            outcome, error = self._outcome(error)
        except BaseException as exception:
            outcome, error = unexpected(claim, exception), exception
        self.result = Execution(claim, outcome, error, False, self._offset, seconds)

    @property
    def may_wait(self) -> bool:
        """True if others say what its outcome is: the database, or a project's own code."""
        return may_wait(self.ready.resolved.policy, self.ready.claim.queue, self.raised)

    def conclude_in_thread(self) -> None:
        """Do as `conclude`, in a thread that keeps no connection."""
        try:
            self.conclude()
        finally:
            if self.may_wait:
                connections.close_all()

    def _outcome(self, error: BaseException | None) -> tuple[Outcome, BaseException | None]:
        claim = self.ready.claim
        if error is None:
            try:
                refuse_unawaited(self.returned)
                return kept(claim, self.returned, until=self._deadline.at), None
            except BaseException as exception:
                error = exception
        return outcome_of_target(claim, self.ready.resolved.policy, error), error

    def given_back(self) -> Execution:
        """Return the release of one that was cancelled before it began, or that has no outcome."""
        outcome = RELEASED if self.current is None else without_outcome(self.ready.claim)
        return Execution(self.ready.claim, outcome, offset=self._offset)

    def cannot_be_told(self) -> None:
        """Deliver no timeout any more: the target has ended."""
        if self._timer is not None:
            self._deadline.on_move = None
            self._timer.cancel()

    def end(self) -> None:
        """Note that nothing of it goes on any more."""
        self.cannot_be_told()
        if self._child_state is not None and self._offset is not None:
            self._child_state.move(self._offset, 0.0)

    def _moved(self) -> None:
        # The target may call from a thread of its own.
        self._loop.call_soon_threadsafe(self._set_timer)

    def _set_timer(self) -> None:
        # It may have ended in the meantime.
        if self._timer is not None and self._deadline.on_move is not None:
            self._timer.cancel()
            self._timer = self._loop.call_later(self._deadline.at - now(), self._tell)

    def _tell(self) -> None:
        """Cancel the task, and note that: from here on the execution is to blame for going on."""
        if now() < self._deadline.at:
            self._set_timer()
            return
        self.was_told = True
        self._deadline.told()
        if self._task is not None:
            self._task.cancel(MESSAGE)
