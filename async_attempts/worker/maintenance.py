"""What a worker does for all of them now and then: rescue the dead one's attempts, and prune."""

from __future__ import annotations

import logging
import time
from typing import Final
from uuid import UUID

from django.db import IntegrityError

from ..conf import DAY, settings
from ..store import Store
from .acknowledging import announce_rescue

PRUNE_INTERVAL: Final = 60.0
PRUNE_PAUSE: Final = 1.0
PRUNE_BATCHES: Final = 10

logger = logging.getLogger("async_attempts")


class Maintenance:
    """One worker's chores, each at its own pace."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._connected = time.monotonic()
        self._next_rescue = 0.0
        self._next_prune = self._connected + PRUNE_INTERVAL
        self._pruned_to: UUID | None = None

    def reconnected(self) -> None:
        """After an outage every lease may have run out: leave the others the time to renew."""
        self._connected = time.monotonic()

    def tick(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if now >= self._next_rescue and self.seconds_to_rescue() == 0:
            self._next_rescue = now + min(settings().LEASE / 3, 5.0)
            self.rescue()
        if now >= self._next_prune:
            self.prune()
            is_through = self._pruned_to is None
            self._next_prune = now + (PRUNE_INTERVAL if is_through else PRUNE_PAUSE)

    def seconds_to_rescue(self) -> float:
        """How long this worker still leaves to others whose leases ran out in an outage."""
        return max(0.0, self._connected + settings().LEASE / 2 - time.monotonic())

    def rescue(self) -> int:
        """Take back what dead workers held; returns how many attempts."""
        rescues = self.store.rescue()
        for rescue in rescues:
            announce_rescue(self.store, rescue)
        return sum(len(rescue.attempt_ids) for rescue in rescues)

    def prune(self) -> None:
        """Delete a few batches of what ended long ago, going on where the last time stopped."""
        self.store.forget_workers(DAY)
        try:
            for _ in range(PRUNE_BATCHES):
                _, self._pruned_to = self.store.prune(settings().KEEP, after=self._pruned_to)
                if self._pruned_to is None:
                    return
        except IntegrityError as error:
            # A project's own table refers to attempts; that is no outage, and no end of the worker.
            logger.error("old attempts can't be deleted: %s", type(error).__name__)
            self._pruned_to = None
