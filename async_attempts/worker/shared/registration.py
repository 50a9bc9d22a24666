"""Registration of a worker: its row, and its lease, kept by its supervisor or by a thread."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

from django.db import Error, connections

from ...conf import settings
from ...encryption import openable
from ...models import Worker
from ...store import Store
from .connections import use_own_connection
from .options import Options
from .shared_memory import ChildState, now

logger = logging.getLogger("async_attempts")


def new_worker(*, queues: Sequence[str], name: str = "") -> Worker:
    """Return a row for this process as a worker, not yet saved."""
    try:
        package_version = version("django-async-attempts")
    except PackageNotFoundError:
        package_version = ""
    return Worker(
        host=socket.gethostname(),
        pid=os.getpid(),
        name=name,
        queues=list(queues),
        opens=openable(),
        version=package_version,
    )


def is_late(holds_until: float, moment: float) -> bool:
    """Return True if a lease should have been renewed long before that moment.

    Whatever kept it back may keep back all others', too.
    """
    return moment > holds_until - settings().LEASE / 2


class OwnLease(Protocol):
    """The lease of this process as a worker; it begins with its registration, and with the next."""

    @property
    def lost(self) -> bool:
        """True if this worker was rescued."""

    @property
    def holds_until(self) -> float:
        """The end of the lease, by `shared_memory.now()`."""

    @property
    def late_at(self) -> float:
        """The moment of the last renewal that was late, by `shared_memory.now()`."""

    def register(self) -> AbstractContextManager[Worker]:
        """Register a new worker, and keep its lease while the context lasts."""

    def lose(self) -> None:
        """Note that the worker was rescued."""

    def tick(self) -> None:
        """Renew the lease in the calling thread, if it is time and nobody else does."""


class InProcessLease:
    """The lease of a worker in a process without a supervisor; a thread renews it.

    It does so every third of the lease, while a target keeps the calling thread busy. A thread
    can't see rows of the calling thread's open transaction (a `TestCase`), nor write to a SQLite
    database in memory: `tick()` renews there.
    """

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self.lost = True
        self._renewed = self._late_at = 0.0
        self._thread: threading.Thread | None = None

    @contextmanager
    def register(self) -> Iterator[Worker]:
        worker = new_worker(queues=self._options.queues, name=self._options.name)
        self._store.workers.register(worker, settings().LEASE)
        self._worker_id, self.lost = worker.pk, False
        self._renewed, self._late_at = now(), 0.0
        stop = threading.Event()
        connection: Any = self._store.database.connection
        in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()
        if not connection.in_atomic_block and not in_memory:
            self._thread = threading.Thread(
                target=self._keep, args=[stop], name="lease", daemon=True
            )
            self._thread.start()
        try:
            yield worker
        finally:
            stop.set()
            if self._thread is not None:
                self._thread.join()
                self._thread = None

    @property
    def holds_until(self) -> float:
        return 0.0 if self.lost else self._renewed + settings().LEASE

    @property
    def late_at(self) -> float:
        moment = now()
        return moment if is_late(self.holds_until, moment) else self._late_at

    def lose(self) -> None:
        self.lost = True

    def tick(self) -> None:
        if self._thread is None and now() - self._renewed >= settings().LEASE / 3:
            self._renew()

    def _keep(self, stop: threading.Event) -> None:
        use_own_connection(self._store.database.alias)
        try:
            while not stop.wait(settings().LEASE / 3) and not self.lost:
                try:
                    self._renew()
                except Exception as error:
                    # A late renewal is as good as any, unless somebody has rescued this worker.
                    logger.warning("the lease could not be renewed: %s", type(error).__name__)
                    with suppress(Error):
                        self._store.database.connection.close()
        finally:
            connections.close_all()

    def _renew(self) -> None:
        asked = now()
        self.lost = not self._store.workers.renew(self._worker_id, settings().LEASE)
        if is_late(self._renewed + settings().LEASE, asked):
            self._late_at = now()
        self._renewed = asked


class SupervisedLease:
    """The lease of a child; its supervisor renews it, and shared memory says how it stands."""

    def __init__(self, store: Store, options: Options, child_state: ChildState) -> None:
        self._store = store
        self._options = options
        self._child_state = child_state

    @contextmanager
    def register(self) -> Iterator[Worker]:
        worker = new_worker(queues=self._options.queues, name=self._options.name)
        self._worker_id = worker.pk
        asked = now()
        # In shared memory first, so that the supervisor knows whatever it claims.
        self._child_state.holds_until = 0.0
        self._child_state.set_worker(worker.pk)
        self._store.workers.register(worker, settings().LEASE)
        self._child_state.holds_until = asked + settings().LEASE
        yield worker

    @property
    def lost(self) -> bool:
        return self._child_state.has_lost(self._worker_id)

    @property
    def holds_until(self) -> float:
        return self._child_state.holds_until

    @property
    def late_at(self) -> float:
        moment = now()
        return moment if is_late(self.holds_until, moment) else self._child_state.late_at

    def lose(self) -> None:
        self._child_state.lose(self._worker_id)

    def tick(self) -> None:
        """Do nothing: the supervisor renews."""
