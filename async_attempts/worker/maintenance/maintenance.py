"""Chores that each worker does for all: rescue, expire, prune, enqueue the ticks of schedules."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import Error

from ... import signals
from ...conf import retention, settings
from ...encryption import openable
from ...pauses import jittered
from ...store import Cursor, Rescue, Store
from ...values import DAY
from ..execution.acknowledge import announce_rescue
from ..execution.announcer import Announcer, AtOnce
from ..execution.missing_keys import HOUR
from ..shared.shared_memory import now
from .pruning import Pruner
from .schedule_ticks import ScheduleTicks

RESCUE_PAUSE: Final = 1.0
PRUNE_INTERVAL: Final = 60.0
UNKEPT_INTERVAL: Final = 10.0
"""Seconds between two walks where a queue keeps no successes."""

PRUNE_PAUSE: Final = 1.0
PRUNE_BATCHES: Final = 10
TALLIES_KEPT: Final = 30 * DAY
EXPIRE_INTERVAL: Final = 60.0
EXPIRE_PAUSE: Final = 0.5
EXPIRED_AT_ONCE: Final = 1000
RETURN_PAUSE: Final = 0.1
RETURN_AGAIN: Final = 10.0
"""Seconds before a worker looks a second time for attempts that were put off for want of its keys:
others may have put some off while it started."""

SWEEP_INTERVAL: Final = 10.0
ORPHAN_INTERVAL: Final = 60.0
SWEEPING_AT_MOST: Final = 0.02
"""The most of a worker's time; a sweep takes longer the more dependencies are open."""

logger = logging.getLogger("async_attempts")


class Maintenance:
    """The chores of one worker, each at its own interval."""

    def __init__(
        self,
        store: Store,
        *,
        exits_when_done: bool = False,
        announcer: Announcer | None = None,
    ) -> None:
        self.store = store
        self.announcer = announcer or AtOnce()
        self.schedule_ticks = ScheduleTicks(store, exits_when_done=exits_when_done)
        self._connected = now()
        self._next_rescue = 0.0
        self._lease_watch = LeaseWatch()
        self._next_prune = self._connected + PRUNE_INTERVAL
        self._pruner = Pruner(store)
        self._forgotten_to: int | None = None
        # Not all of a fleet that was started together at once.
        self._next_expire = self._connected + jittered(EXPIRE_INTERVAL)
        self._returns, self._next_return = 0, 0.0
        self._brought_back_to: Cursor | None = None
        self._exits_when_done = exits_when_done
        self._next_sweep = self._connected + jittered(SWEEP_INTERVAL)
        self._next_orphans = self._connected + jittered(ORPHAN_INTERVAL)

    def reconnected(self) -> None:
        """Rescue nobody for half a lease: after an outage every lease may have run out."""
        self._connected = now()

    def tick(
        self,
        *,
        has_late_workers: bool,
        late_at: float,
        next_tick_at: float | None = None,
        has_waiting: bool = True,
    ) -> bool:
        """Do what is due; return True if attempts may have become due.

        `has_late_workers`, `next_tick_at` (of a schedule), `has_waiting` (for a slot): as the last
        poll found. `late_at`: when this worker's own lease was last renewed late.
        """
        moment = now()
        if has_late_workers and moment >= self._next_rescue:
            self._next_rescue = moment + RESCUE_PAUSE
            self.watch_leases()
            if not self.seconds_to_rescue(late_at):
                self.rescue()
        if moment >= self._next_expire:
            has_more = self.expire_overdue() == EXPIRED_AT_ONCE
            self._next_expire = moment + (EXPIRE_PAUSE if has_more else EXPIRE_INTERVAL)
        if moment >= self._next_prune:
            self.prune()
            is_through = self._pruner.is_through and self._forgotten_to is None
            interval = UNKEPT_INTERVAL if retention().is_to_be_pruned_soon else PRUNE_INTERVAL
            self._next_prune = moment + (interval if is_through else PRUNE_PAUSE)
        found = self.sweep(has_waiting=has_waiting) if moment >= self._next_sweep else 0
        if moment >= self._next_orphans:
            found += self.take_back_orphans()
        if self._returns and moment >= self._next_return:
            found += self.bring_back()
        found += self.store.revisit()
        return self.schedule_ticks.tick(next_tick_at) or found > 0

    def begin(self) -> None:
        """Have the calling thread come back to what was passed over, from now on."""
        self.store.database.revisits.begin()
        self._returns = 0 if self._exits_when_done else 2

    def end(self) -> None:
        """Come back for the last time to what was passed over."""
        self.store.database.revisits.end()
        self.store.revisit()

    def seconds_to_rescue(self, late_at: float) -> float:
        """Return the seconds that others still have to renew their leases."""
        return max(0.0, max(self._connected, late_at) + settings().LEASE / 2 - now())

    def watch_leases(self) -> None:
        """See which leases are late."""
        self._lease_watch.see(self.store.workers.late_leases(settings().LEASE))

    def seconds_to_certainty(self, late_at: float) -> float:
        """Return the seconds until this worker knows which workers with late leases are dead."""
        return max(self.seconds_to_rescue(late_at), self._lease_watch.seconds)

    def rescue(self) -> int:
        """Take back what dead workers held; returns how many attempts."""
        return self._announced(self.store.workers.rescue(self._lease_watch.unchanged))

    def take_back_orphans(self) -> int:
        """Take back what is claimed by workers that are no more; returns how many attempts."""
        moment = now()
        number = self._announced(self.store.workers.rescue_orphans())
        self._next_orphans = now() + max(ORPHAN_INTERVAL, (now() - moment) / SWEEPING_AT_MOST)
        return number

    def _announced(self, rescues: Iterable[Rescue]) -> int:
        """Tell of these; returns how many attempts were taken back."""
        number = 0
        for rescue in rescues:
            number += rescue.num_released + len(rescue.attempt_ids)
            if rescue.attempt_ids:
                announce_rescue(self.store, rescue, self.announcer)
        return number

    def expire_overdue(self) -> int:
        """Expire attempts that no worker claimed before `expires_at`; returns their number."""
        expired = self.store.retention.expire_overdue(EXPIRED_AT_ONCE)
        if expired:
            alias = self.store.database.alias
            self.announcer.announce(
                signals.overdue, Maintenance, database=alias, attempt_ids=expired
            )
        return len(expired)

    def bring_back(self) -> int:
        """Make due a batch of the attempts that were put off for want of this process's keys."""
        number, self._brought_back_to = self.store.missing_keys.bring_back(
            openable(), HOUR, after=self._brought_back_to
        )
        is_through = self._brought_back_to is None
        self._returns -= is_through
        self._next_return = now() + (RETURN_AGAIN if is_through else RETURN_PAUSE)
        return number

    def sweep(self, *, has_waiting: bool = True, queues: Collection[str] | None = None) -> int:
        """Close dependencies left open, and wake attempts left waiting; return the number.

        `queues`: what is woken is of these only.
        """
        moment = now()
        closed = self.store.dependencies.sweep()
        woken = self.store.limits.unpark_all(queues) if has_waiting else 0
        pause = SWEEP_INTERVAL if not closed else 0.0
        self._next_sweep = now() + max(pause, (now() - moment) / SWEEPING_AT_MOST)
        return closed + woken

    def prune(self) -> None:
        """Delete a few batches of what isn't kept, going on where the last time stopped."""
        self.store.workers.forget(DAY)
        self._forgotten_to = self.store.limits.forget_slots(self._forgotten_to or 0)
        self.store.statistics.forget_tallies(TALLIES_KEPT)
        for _ in range(PRUNE_BATCHES):
            self._pruner.prune(retention())
            if self._pruner.is_through:
                break
        if self._pruner.is_through and (refused := self._pruner.num_refused):
            # The worker goes on.
            logger.error("%d old attempts can't be deleted: a project's rows need them", refused)
            self._pruner.num_refused = 0


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


def set_malformed_aside(
    store: Store, worker_id: UUID | None = None, queues: Collection[str] = ()
) -> bool:
    """Fail or mend malformed rows; True if there were any. An error of the database is logged."""
    try:
        found = store.malformed_rows.set_aside(worker_id, queues)
    except Error as error:
        logger.error("malformed rows can't be set aside: %s", type(error).__name__)
        return False
    for one in found:
        logger.error("%s", one)
    return bool(found)
