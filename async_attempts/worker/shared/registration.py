"""Registration of a worker: its row, and its lease."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple, Protocol

from ...conf import settings
from ...encryption import openable
from ...models import Worker
from ...store import Store
from .lease import LeaseKeeper, SupervisedLease
from .options import Options
from .shared_memory import ChildState, now


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
