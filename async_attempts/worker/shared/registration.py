"""Registration of a worker: its row, and its lease, kept by its supervisor or by a thread."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

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
        if self._thread is None and now() - self._renewed >= settings().LEASE / 3:
            self._renew()

    def _keep(self) -> None:
        use_own_connection(self.store.database.alias)
        try:
            while not self._stop.wait(settings().LEASE / 3) and not self.lost:
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


class Registration(NamedTuple):
    """A registered worker and its lease."""

    worker: Worker
    lease: LeaseKeeper | SupervisedLease


class Registrar(Protocol):
    """Registers this process as a worker, and again after it was rescued."""

    @property
    def holds_until(self) -> float:
        """The end of the present lease, by `shared_memory.now()`."""

    def register(self) -> AbstractContextManager[Registration]:
        """Register a new worker, and keep its lease while the context lasts."""


class InProcessRegistrar:
    """Registers a worker in a process without a supervisor; a thread renews its lease."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self._lease: LeaseKeeper | None = None

    @property
    def holds_until(self) -> float:
        return 0.0 if self._lease is None else self._lease.holds_until

    @contextmanager
    def register(self) -> Iterator[Registration]:
        worker = new_worker(queues=self._options.queues, name=self._options.name)
        self._store.workers.register(worker, settings().LEASE)
        with LeaseKeeper(self._store, worker.pk) as self._lease:
            yield Registration(worker, self._lease)


class ChildRegistrar:
    """Registers a child; its supervisor renews the lease, which it finds in shared memory."""

    def __init__(self, store: Store, options: Options, child_state: ChildState) -> None:
        self._store = store
        self._options = options
        self._child_state = child_state

    @property
    def holds_until(self) -> float:
        return self._child_state.holds_until

    @contextmanager
    def register(self) -> Iterator[Registration]:
        worker = new_worker(queues=self._options.queues, name=self._options.name)
        asked = now()
        # In shared memory first, so that the supervisor knows whatever it claims.
        self._child_state.hold_until(0.0)
        self._child_state.set_worker(worker.pk)
        self._store.workers.register(worker, settings().LEASE)
        self._child_state.hold_until(asked + settings().LEASE)
        yield Registration(worker, SupervisedLease(self._child_state, worker.pk))
