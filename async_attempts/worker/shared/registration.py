"""A worker's row and its lease: who performs, made anew when others took it for dead."""

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
    """A new incarnation of this process, not yet registered."""
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
    """One life of a worker."""

    worker: Worker
    lease: LeaseKeeper | SupervisedLease


class Registrar(Protocol):
    """Registers one after the other."""

    @property
    def holds_until(self) -> float:
        """Until when the present one's lease holds, by `memory.now()`."""

    def register(self) -> AbstractContextManager[Registration]:
        """Live as a new one."""


class InProcessRegistrar:
    """In a process without a supervisor: a thread keeps the lease."""

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
        self._store.register(worker, settings().LEASE)
        with LeaseKeeper(self._store, worker.pk) as self._lease:
            yield Registration(worker, self._lease)


class ChildRegistrar:
    """In a child: the supervisor renews what stands on its page."""

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
        # On the page before it is in the database: whatever it claims, its supervisor will know.
        self._child_state.hold_until(0.0)
        self._child_state.become(worker.pk)
        self._store.register(worker, settings().LEASE)
        self._child_state.hold_until(asked + settings().LEASE)
        yield Registration(worker, SupervisedLease(self._child_state, worker.pk))
