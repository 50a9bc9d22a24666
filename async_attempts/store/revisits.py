"""Rows that were passed over as another transaction locked them, and when to try them again.

A caller comes back a few times within some 50 ms. In a process with a worker's loop, the loop goes
on from there; what is still locked then, or was left by a process that ended, is for the sweep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from enum import Enum, auto
from typing import Any, Final, TypeVar

from ..pauses import Pauses, jittered

_Key = TypeVar("_Key")

QUICK: Final = (0.002, 0.004, 0.008, 0.016, 0.032)
"""Seconds, at most, between the tries of a thread that can wait."""

FIRST: Final = 0.004
LONGEST: Final = 1.0
"""Seconds between the tries of a loop: they double."""

PATIENCE: Final = 10.0
"""Seconds after which it is left to the sweep."""

MOST: Final = 10_000


class What(Enum):
    """The subject that a key names."""

    EDGES = auto()
    """The id of a prerequisite that has ended, with open edges."""

    DEPENDENTS = auto()
    """The id of a prerequisite that isn't marked as one yet."""

    SLOTS = auto()
    """A limit key for whose slots attempts may wait."""


class Visit:
    """A time to come back: `due` by the monotonic clock; None: somebody is at it."""

    __slots__ = ("due", "first", "pauses")

    def __init__(self, moment: float) -> None:
        self.first = moment
        self.pauses = Pauses(FIRST, LONGEST)
        self.due: float | None = moment + self.pauses.next()


class Revisits:
    """All that one process passed over on one database; any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._visits: dict[tuple[What, Any], Visit] = {}
        self._loops: set[int] = set()

    def begin(self) -> None:
        """Have the calling thread, a loop, come back to what any thread adds from now on."""
        with self._lock:
            if not self._loops:
                self._visits.clear()
            self._loops.add(threading.get_ident())

    def end(self) -> None:
        """Note that the calling thread is no loop any more; its last visit is due now."""
        moment = time.monotonic()
        with self._lock:
            self._loops.discard(threading.get_ident())
            for visit in self._visits.values():
                visit.due = moment

    def insist(
        self, what: What, keys: Iterable[_Key], work: Callable[[Iterable[_Key]], Collection[_Key]]
    ) -> None:
        """Do `work`, which returns the keys that it passed over; do it for those again.

        A loop doesn't wait: it adds them to what it comes back to.
        """
        passed = work(keys)
        for pause in () if self.is_loop else QUICK:
            if not passed:
                return
            time.sleep(jittered(pause))
            passed = work(passed)
        self.add(what, passed)

    @property
    def is_loop(self) -> bool:
        """True if the calling thread is a loop, which doesn't wait."""
        return threading.get_ident() in self._loops

    def add(self, what: What, keys: Iterable[Any]) -> None:
        """Have the loop come back to these; nothing where there is none."""
        if not self._loops:
            return
        moment = time.monotonic()
        with self._lock:
            for key in keys:
                visit = self._visits.get((what, key))
                if visit is None:
                    if len(self._visits) < MOST:
                        self._visits[what, key] = Visit(moment)
                elif visit.due is None and moment - visit.first < PATIENCE:
                    visit.due = moment + visit.pauses.next()

    def has(self, what: What, key: Any) -> bool:
        """Return True if a loop is to come back to this."""
        return bool(self._loops) and (what, key) in self._visits

    def __bool__(self) -> bool:
        return bool(self._visits)

    @property
    def seconds(self) -> float | None:
        """Until the next visit; None: there is none."""
        if not self._visits:
            return None
        with self._lock:
            dues = [visit.due for visit in self._visits.values() if visit.due is not None]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def visit(self, what: What, work: Callable[[list[Any]], int]) -> int:
        """Do `work` with the keys whose time has come; what it adds again is tried later."""
        moment = time.monotonic()
        with self._lock:
            due = [
                (key, visit)
                for (of, key), visit in self._visits.items()
                if of is what and visit.due is not None and visit.due <= moment
            ]
            for _, visit in due:
                visit.due = None
        if not due:
            return 0
        try:
            return work([key for key, _ in due])
        finally:
            with self._lock:
                for key, visit in due:
                    if visit.due is None:
                        self._visits.pop((what, key), None)
