"""Keep a worker's lease, from a thread with a connection of its own."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from typing import Self
from uuid import UUID

from django.db import Error, connections

from ..conf import settings
from ..store import Store

logger = logging.getLogger("async_attempts")


class LeaseKeeper:
    """Renews the lease every third of it, while a target keeps the main thread busy.

    `lost` tells that the worker was rescued. A thread can't see rows of the main thread's open
    transaction (a `TestCase`), nor write to a SQLite database in memory: `tick()` renews there.
    """

    def __init__(self, store: Store, worker_id: UUID) -> None:
        self.store = store
        self.worker_id = worker_id
        self.lost = False
        self._stop = threading.Event()
        self._renewed = time.monotonic()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        connection = self.store.connection
        in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]
        if not connection.in_atomic_block and not in_memory:
            self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def tick(self) -> None:
        """Renew in this thread, if it is time and no other thread does."""
        if self._thread is None and time.monotonic() - self._renewed >= self._interval:
            self._renew()

    def holds(self) -> bool:
        """Whether this worker hasn't been rescued, by a renewal now."""
        self._renew()
        return not self.lost

    @property
    def _interval(self) -> float:
        return settings().LEASE / 3

    def _keep(self) -> None:
        try:
            while not self._stop.wait(self._interval) and not self.lost:
                try:
                    self._renew()
                except Exception as error:
                    # A late renewal is as good as any, unless somebody has rescued this worker.
                    logger.warning("the lease could not be renewed: %s", type(error).__name__)
                    with suppress(Error):
                        self.store.connection.close()
        finally:
            connections.close_all()

    def _renew(self) -> None:
        self.lost = not self.store.renew(self.worker_id, settings().LEASE)
        self._renewed = time.monotonic()
