"""Soft timeouts: `AttemptTimeout` is raised inside a target that takes too long, and
`AttemptCancelled` in one that a person wants interrupted.

That is the soft half. A target that doesn't heed it is ended with its process, by the supervisor,
which reads the deadlines in shared memory.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final, Protocol

from ...conf import settings
from ...exceptions import AttemptCancelled, AttemptTimeout
from ...store import Claim
from ..shared.shared_memory import ChildState, now

AT_ONCE: Final = 1e-6
"""Seconds: a timer that is set to 0 never expires."""

MESSAGE: Final = "the timeout of the attempt is over"
_FAR: Final = float("inf")
_raise_in_thread: Final = ctypes.pythonapi.PyThreadState_SetAsyncExc


class Deadline:
    """The deadline of an execution, by `shared_memory.now()`; it may be moved.

    Noted in shared memory for the supervisor, if there is one.
    """

    __slots__ = ("_child_state", "_offset", "at", "claim", "interrupted_for", "on_move")

    def __init__(
        self,
        at: float,
        child_state: ChildState | None = None,
        offset: int | None = None,
        claim: Claim | None = None,
    ) -> None:
        self.at = at
        self.claim = claim
        self.interrupted_for: str | None = None
        """Why somebody wants it interrupted; None: nobody does."""
        self.on_move: Callable[[], None] | None = None
        self._child_state = child_state
        self._offset = offset

    def note(self) -> None:
        """Have the supervisor wait until then, plus the grace for delivering the timeout."""
        if self._child_state is not None and self._offset is not None:
            self._child_state.move(self._offset, self.at + settings().TIMEOUT_GRACE)

    def move(self, at: float) -> None:
        """Have another deadline from now on; any thread may do that.

        It stays as it is if the execution is to be interrupted.
        """
        if self.interrupted_for is not None:
            return
        self.at = at
        # A thread may outlive the execution that it belongs to.
        if self.on_move is not None:
            self.note()
            self.on_move()

    def interrupt(self, reason: str) -> bool:
        """Let the execution end now, since somebody wants that; False if it was told before."""
        if self.interrupted_for is not None or now() >= self.at:
            return False
        self.interrupted_for, self.at = reason, now()
        return True

    @property
    def error(self) -> type[AttemptTimeout | AttemptCancelled]:
        """The class of what is raised in a target that is over its deadline."""
        return AttemptTimeout if self.interrupted_for is None else AttemptCancelled

    def told(self) -> None:
        """Note that the timeout is delivered now: after the grace the execution is to blame."""
        if self._child_state is not None and self._offset is not None:
            ends_by = now() + settings().TIMEOUT_GRACE
            if self.interrupted_for is not None:
                # Not before: until now the execution might have ended, and the note be another's.
                self._child_state.move(self._offset, ends_by)
            self._child_state.told(self._offset, ends_by)


class BorrowedAlarm:
    """SIGALRM and its timer, borrowed from other code, and given back with the time left."""

    def __init__(self, handler: Callable[[int, FrameType | None], None]) -> None:
        self._taken_at = now()
        self._left, self._interval = signal.setitimer(signal.ITIMER_REAL, 0)
        self._handler = handler
        self._previous = signal.signal(signal.SIGALRM, handler)

    def set(self, seconds: float) -> None:
        """Send SIGALRM after these seconds, and restore the handler if a target took it."""
        if signal.getsignal(signal.SIGALRM) is not self._handler:  # a tenth of setting it
            signal.signal(signal.SIGALRM, self._handler)
        signal.setitimer(signal.ITIMER_REAL, min(max(seconds, AT_ONCE), threading.TIMEOUT_MAX))

    def give_back(self) -> None:
        """Restore the previous handler and timer; one that expired meanwhile expires at once."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._previous)
        if self._left:
            rest = self._left - (now() - self._taken_at)
            signal.setitimer(signal.ITIMER_REAL, max(rest, AT_ONCE), self._interval)


class Watch(Protocol):
    """Watches one execution at a time. `has_raised`: since somebody has set it to False."""

    has_raised: bool

    def begin(self, deadline: Deadline) -> None: ...

    def end(self) -> None:
        """Raise nothing any more; an exception that is on its way may be raised in here."""

    def heed(self) -> None:
        """Check the deadline again, which another thread has brought forward."""


class NoWatch:
    """A watch that raises nothing, for `Attempt.perform()` in a thread of the project's."""

    has_raised = False

    def begin(self, deadline: Deadline) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def heed(self) -> None:
        """Do nothing: nobody looks."""


class AlarmWatch:
    """The watch of the main thread: SIGALRM, which interrupts most system calls, too.

    The timer isn't set again for each execution: when it expires, the handler checks if the
    execution of that moment is late, and else sets it to the deadline of that one. A target may
    take it away, and a call in C may keep the main thread from hearing it: the timekeeper makes up
    for both. Without one, the timer is set for each execution.
    """

    def __init__(self, timekeeper: Timekeeper | None = None) -> None:
        self.has_raised = False
        self._thread = threading.get_ident()
        self._current: Deadline | None = None
        self._armed_for = _FAR
        self._noted: tuple[Deadline, float] | None = None
        self._alarm = BorrowedAlarm(self._on_alarm)
        self._timekeeper = timekeeper
        if timekeeper is not None:
            timekeeper.watches.append(self)

    def begin(self, deadline: Deadline) -> None:
        self._current = deadline
        if self._timekeeper is None or deadline.at < self._armed_for:
            self._arm(deadline.at)
        if self._timekeeper is not None and deadline.at < self._timekeeper.checks_at:
            self._timekeeper.check_earlier()

    def end(self) -> None:
        self._current = None

    def heed(self) -> None:
        if self._timekeeper is not None:
            self._timekeeper.check_earlier()

    def close(self) -> None:
        """Leave SIGALRM as it was."""
        self._current = None
        self._alarm.give_back()

    def check(self, moment: float) -> float:
        """Send SIGALRM in place of the timer; note the delivery for a main thread in a C call."""
        deadline = self._current
        if deadline is None:
            return _FAR
        if moment < deadline.at:
            return deadline.at
        if self._noted != (deadline, deadline.at):
            # Once: another check, for another thread's sake, gives it no more time.
            self._noted = deadline, deadline.at
            deadline.told()
        # Whatever has become of it: the next execution sets it.
        self._armed_for = _FAR
        signal.pthread_kill(self._thread, signal.SIGALRM)
        return _FAR

    def _arm(self, at: float) -> None:
        self._armed_for = at
        self._alarm.set(at - now())

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        self._armed_for = _FAR
        deadline = self._current
        if deadline is None:
            return
        if now() < deadline.at:
            self._arm(deadline.at)
            return
        self._current = None
        deadline.told()
        self.has_raised = True
        raise deadline.error(deadline.interrupted_for or MESSAGE)


class ThreadWatch:
    """The watch of any other thread: an exception that is raised between two of its bytecodes."""

    def __init__(self, timekeeper: Timekeeper) -> None:
        self._timekeeper = timekeeper
        self._thread = threading.get_ident()
        self._lock: Any = threading.RLock()
        self._current: Deadline | None = None
        self._is_late = self.has_raised = False
        timekeeper.watches.append(self)

    def begin(self, deadline: Deadline) -> None:
        self._current = deadline
        if deadline.at < self._timekeeper.checks_at:
            self._timekeeper.check_earlier()

    def end(self) -> None:
        try:
            self._lock.acquire()
            self._current = None
            if self._is_late:
                self._is_late = False
                _raise_in_thread(ctypes.c_ulong(self._thread), None)
        finally:
            # If Python raises between a lock's acquisition and the block of a `with`, nothing
            # else releases it.
            if self._lock._is_owned():
                self._lock.release()

    def heed(self) -> None:
        self._timekeeper.check_earlier()

    def check(self, moment: float) -> float:
        """Raise, if it is time; return the deadline to check next."""
        with self._lock:
            deadline = self._current
            if deadline is None:
                return _FAR
            if moment < deadline.at:
                return deadline.at
            self._current = None
            deadline.told()
            self._is_late = self.has_raised = True
            _raise_in_thread(ctypes.c_ulong(self._thread), ctypes.py_object(deadline.error))
            return _FAR


class Timekeeper:
    """The thread that checks the deadlines of all others."""

    def __init__(self) -> None:
        self.watches: list[AlarmWatch | ThreadWatch] = []
        self.checks_at = _FAR
        # Written in C: an Event that its setter is thrown out of stays locked for ever.
        self._changed: SimpleQueue[None] = SimpleQueue()
        self._stopped = False
        self._thread = threading.Thread(target=self._keep, name="timekeeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def check_earlier(self) -> None:
        """Check again now: a deadline is earlier than all that were known."""
        self._changed.put(None)

    def stop(self) -> None:
        self._stopped = True
        self._changed.put(None)
        self._thread.join()

    def _keep(self) -> None:
        while not self._stopped:
            # Set first: a deadline that begins during the check is earlier than this, and wakes.
            self.checks_at = _FAR
            moment = now()
            self.checks_at = min((watch.check(moment) for watch in self.watches), default=_FAR)
            wait = min(max(0.0, self.checks_at - moment), threading.TIMEOUT_MAX)
            with suppress(Empty):
                self._changed.get(timeout=wait)
                while True:
                    self._changed.get_nowait()
