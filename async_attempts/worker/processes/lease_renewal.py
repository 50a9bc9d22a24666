"""Renewal of the leases of all children, in one statement of the supervisor."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from django.db import Error, connections

from ...conf import settings
from ...pauses import jittered
from ...store import Store
from ..execution.timeouts import BorrowedAlarm
from ..shared.connections import IMPATIENT, use_own_connection
from ..shared.registration import is_late
from ..shared.shared_memory import ChildState, SupervisorState, now

logger = logging.getLogger("async_attempts")

PATIENCE: Final = 5.0
"""Seconds that a renewal may take, a third of the lease at most: a network may swallow it."""

RETRY: Final = 1.0


class TooSlow(Exception):
    """The renewal took too long."""


class LeaseRenewal:
    """Renews every third of the lease, and writes its end to the state of each child."""

    def __init__(self, store: Store, states: Sequence[ChildState], mine: SupervisorState) -> None:
        self._store = store
        self._states = states
        self._mine = mine
        self._next = now() + settings().LEASE / 3
        self._is_own = False
        mine.renewed()

    @property
    def seconds(self) -> float:
        """The seconds until the next renewal."""
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
            self._next = now() + jittered(min(RETRY, lease / 10))
        else:
            self._next = now() + lease / 3

    def _drop_connection(self) -> None:
        """Close the connection: interrupted, it may believe that it is in a transaction."""
        connection = self._store.database.connection
        del connections[self._store.database.alias]
        self._is_own = False
        with suppress(Error, TooSlow), at_most(RETRY):
            connection.close()

    def _renew(self, lease: float) -> None:
        living = {
            state.worker_id: state
            for state in self._states
            if state.worker_id is not None and state.holds_until
        }
        if living and not self._is_own:
            alias, vendor = self._store.database.alias, self._store.database.connection.vendor
            # No signal interrupts this driver while it waits.
            use_own_connection(alias, **(IMPATIENT[vendor] if vendor == "mysql" else {}))
            self._is_own = True
        asked = now()
        if len(living) > 1:
            for worker_id in self._store.workers.renew_unlocked(list(living), lease):
                _hold(living.pop(worker_id), asked, lease)
        for worker_id, state in living.items():
            if self._store.workers.renew(worker_id, lease):
                _hold(state, asked, lease)
            elif state.worker_id == worker_id and not state.has_lost(worker_id):
                state.lose(worker_id)
        self._mine.renewed()


def _hold(state: ChildState, asked: float, lease: float) -> None:
    if is_late(state.holds_until, asked):
        state.late_at = now()
    state.holds_until = asked + lease


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the main thread after these seconds, whatever it waits for."""

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    alarm = BorrowedAlarm(on_alarm)
    alarm.set(seconds)
    try:
        yield
    finally:
        alarm.give_back()
