"""The supervisor's one statement: it renews the lease of all its children."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final

from django.db import Error, connections

from ...conf import settings
from ...store import Store
from ..execution.timeouts import BorrowedAlarm
from ..shared.connections import use_own_connection
from ..shared.lease import is_late
from ..shared.shared_memory import ChildState, SupervisorState, now

logger = logging.getLogger("async_attempts")

PATIENCE: Final = 5.0
"""Seconds that a renewal may take, a third of the lease at most: a network may swallow it."""

IMPATIENT: Final[dict[str, dict[str, Any]]] = {
    "mysql": {"connect_timeout": 2, "read_timeout": 2, "write_timeout": 2},
}
"""`OPTIONS`, by the vendor, of drivers that no signal interrupts while they wait."""

RETRY: Final = 1.0


class TooSlow(Exception):
    """The renewal took too long."""


class LeaseRenewal:
    """Renews every third of the lease, and says on each page until when it holds."""

    def __init__(self, store: Store, states: Sequence[ChildState], mine: SupervisorState) -> None:
        self._store = store
        self._pages = states
        self._mine = mine
        self._next = now() + settings().LEASE / 3
        self._is_own = False
        mine.renewed()

    @property
    def seconds(self) -> float:
        """Until the next renewal."""
        return max(0.0, self._next - now())

    def tick(self) -> None:
        """Renew, if it is time."""
        if now() < self._next:
            return
        lease = settings().LEASE
        try:
            with at_most(min(PATIENCE, lease / 3)):
                self._renew(lease)
        except (Error, TooSlow) as error:
            # A late renewal is as good as any, unless somebody has rescued a child.
            logger.warning("the lease could not be renewed: %s", type(error).__name__)
            self._drop_connection()
            self._next = now() + min(RETRY, lease / 10) * random.uniform(0.5, 1)
        else:
            self._next = now() + lease / 3

    def _drop_connection(self) -> None:
        """What was interrupted at any point may take itself to be inside a transaction for ever."""
        connection = self._store.connection
        del connections[self._store.alias]
        self._is_own = False
        with suppress(Error, TooSlow), at_most(RETRY):
            connection.close()

    def _renew(self, lease: float) -> None:
        living = {
            state.worker_id: state
            for state in self._pages
            if state.worker_id is not None and state.holds_until
        }
        if living and not self._is_own:
            alias, vendor = self._store.alias, self._store.connection.vendor
            use_own_connection(alias, **IMPATIENT.get(vendor, {}))
            self._is_own = True
        asked = now()
        if len(living) > 1:
            for worker_id in self._store.renew_unlocked(list(living), lease):
                _hold(living.pop(worker_id), asked, lease)
        for worker_id, state in living.items():
            if self._store.renew(worker_id, lease):
                _hold(state, asked, lease)
            elif state.worker_id == worker_id and not state.has_lost(worker_id):
                state.lose(worker_id)
        self._mine.renewed()


def _hold(state: ChildState, asked: float, lease: float) -> None:
    if is_late(state.holds_until, asked):
        state.came_late(now())
    state.hold_until(asked + lease)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the main thread after so many seconds, whatever it waits for."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    alarm = BorrowedAlarm(on_alarm)
    alarm.set(seconds)
    try:
        yield
    finally:
        alarm.give_back()
