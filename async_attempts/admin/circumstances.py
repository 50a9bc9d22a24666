"""The circumstances of an attempt: its queue, the workers and the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Final

from django.db import router

from ..conf import settings
from ..models import AbstractAttempt, Queue, Worker
from ..store import Room, Store, store_for
from .rows import readable, readable_or_none

RESCUED_WITHIN: Final = 10.0
"""Seconds after half a lease within which a live worker rescues a lost worker's attempts."""


class Circumstances:
    """The circumstances of one attempt; each is read when it is needed, without locks."""

    def __init__(self, attempt: AbstractAttempt) -> None:
        self.attempt = attempt

    @cached_property
    def now(self) -> datetime:
        """The database's clock."""
        return self._store.database.now()

    @cached_property
    def worker(self) -> Worker | None:
        """The worker that claimed it, if its row is still there."""
        claimed_by = self.attempt.claimed_by
        workers = self._store.database.workers
        return readable_or_none(workers.filter(pk=claimed_by)) if claimed_by else None

    @cached_property
    def live_workers(self) -> Sequence[Worker]:
        """The workers that hold their lease."""
        return readable(self._store.statistics.live_workers())

    @property
    def serving(self) -> Sequence[Worker]:
        """The live workers that claim from its queue."""
        return [w for w in self.live_workers if self.attempt.queue in served_by(w)]

    @property
    def is_declared(self) -> bool:
        """True if the settings of this process declare its queue."""
        return self.attempt.queue in settings().QUEUES

    @cached_property
    def is_paused(self) -> bool:
        """True if no worker may claim from its queue."""
        queue = readable_or_none(self._store.database.queues.filter(pk=self.attempt.queue))
        return (queue or Queue(name=self.attempt.queue)).paused

    @cached_property
    def room(self) -> Room:
        """The room that the limits of its queue leave."""
        return self._store.queues.room(self.attempt.queue)

    def seconds_to_rescue(self, worker: Any) -> float:
        """Return the seconds that live workers may still take to rescue from a lost `worker`."""
        began = min(filter(None, (w.started_at for w in self.live_workers)), default=self.now)
        seen = (self.now - max(worker.lease or began, began)).total_seconds()
        return seconds_to_rescue() - seen

    @property
    def _store(self) -> Store:
        return store_for(self.attempt._state.db or router.db_for_read(type(self.attempt)))


def seconds_to_rescue() -> float:
    """Return the most seconds from a lost worker's lease running out to its rescue."""
    return settings().LEASE / 2 + RESCUED_WITHIN


def served_by(worker: Worker) -> Sequence[str]:
    """Return the queues in a worker's row; none if its column was altered."""
    return [str(queue) for queue in worker.queues] if isinstance(worker.queues, list) else []
