"""Leases: a worker's own, kept by its supervisor or by a thread, and those of other workers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.db import Error, connections

from ...conf import settings
from ...store import Store
from .connections import use_own_connection
from .shared_memory import ChildState, now

logger = logging.getLogger("async_attempts")


def is_late(holds_until: float, moment: float) -> bool:
    """Return True if a lease should have been renewed long before that moment.

    Whatever kept it back may keep back all others', too.
    """
    return moment > holds_until - settings().LEASE / 2


class SupervisedLease:
    """A lease that the supervisor keeps; shared memory says how it stands."""

    def __init__(self, child_state: ChildState, worker_id: UUID) -> None:
        self._child_state = child_state
        self._worker_id = worker_id

    @property
    def lost(self) -> bool:
        """True if this worker was rescued."""
        return self._child_state.has_lost(self._worker_id)

    @property
    def holds_until(self) -> float:
        """The end of the lease, by `shared_memory.now()`."""
        return self._child_state.holds_until

    @property
    def late_at(self) -> float:
        """The moment of the last renewal that was late, by `shared_memory.now()`."""
        moment = now()
        return moment if is_late(self.holds_until, moment) else self._child_state.late_at

    def lose(self) -> None:
        """Note that the worker was rescued."""
        self._child_state.lose(self._worker_id)

    def tick(self) -> None:
        """Do nothing: the supervisor renews."""


class LeaseKeeper:
    """Renews the lease every third of it, while a target keeps the calling thread busy.

    A thread can't see rows of the calling thread's open transaction (a `TestCase`), nor write to a
    SQLite database in memory: `tick()` renews there.
    """

    def __init__(self, store: Store, worker_id: UUID) -> None:
        self.store = store
        self.worker_id = worker_id
        self.lost = False
        self._stop = threading.Event()
        self._renewed = now()
        self._late_at = 0.0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        connection: Any = self.store.database.connection
        in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()
        if not connection.in_atomic_block and not in_memory:
            self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def holds_until(self) -> float:
        """The end of the lease, by `shared_memory.now()`."""
        return 0.0 if self.lost else self._renewed + settings().LEASE

    @property
    def late_at(self) -> float:
        """The moment of the last renewal that was late, by `shared_memory.now()`."""
        moment = now()
        return moment if is_late(self.holds_until, moment) else self._late_at

    def lose(self) -> None:
        """Note that the worker was rescued."""
        self.lost = True

    def tick(self) -> None:
        """Renew in this thread, if it is time and no other thread does."""
        if self._thread is None and now() - self._renewed >= self._interval:
            self._renew()

    @property
    def _interval(self) -> float:
        return settings().LEASE / 3

    def _keep(self) -> None:
        use_own_connection(self.store.database.alias)
        try:
            while not self._stop.wait(self._interval) and not self.lost:
                try:
                    self._renew()
                except Exception as error:
                    # A late renewal is as good as any, unless somebody has rescued this worker.
                    logger.warning("the lease could not be renewed: %s", type(error).__name__)
                    with suppress(Error):
                        self.store.database.connection.close()
        finally:
            connections.close_all()

    def _renew(self) -> None:
        asked = now()
        self.lost = not self.store.workers.renew(self.worker_id, settings().LEASE)
        if is_late(self._renewed + settings().LEASE, asked):
            self._late_at = now()
        self._renewed = asked


class LeaseWatch:
    """Watches the late leases of other workers by this process's own monotonic clock.

    A lease that has run out by the database's clock is no proof of a death: that clock may have
    been set forward. A lease that nobody renewed for half of its length while this worker looked on
    is.
    """

    def __init__(self) -> None:
        self._seen: dict[UUID, tuple[datetime, float]] = {}

    def see(self, leases: Mapping[UUID, datetime]) -> None:
        """Note the late leases, by their workers' ids, as the database has them now."""
        moment = now()
        before = self._seen
        self._seen = {
            worker_id: before[worker_id]
            if worker_id in before and before[worker_id][0] == lease
            else (lease, moment)
            for worker_id, lease in leases.items()
        }

    @property
    def unchanged(self) -> dict[UUID, datetime]:
        """The leases that were seen unchanged for half a lease."""
        since = now() - settings().LEASE / 2
        return {pk: lease for pk, (lease, first) in self._seen.items() if first <= since}

    @property
    def seconds(self) -> float:
        """The seconds until the last of them has been seen for long enough."""
        latest = max((first for _, first in self._seen.values()), default=0.0)
        return max(0.0, latest + settings().LEASE / 2 - now())
