"""Watch the leases of other workers by this worker's own monotonic clock.

A lease that has run out by the database's clock is no proof of a death: that clock may have been
set forward. A lease that nobody renewed for half of its length while this worker looked on is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from ...conf import settings
from .shared_memory import now


class LeaseWatch:
    """Since when each late lease has been seen unchanged."""

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
        """Those that were seen unchanged for half a lease."""
        since = now() - settings().LEASE / 2
        return {pk: lease for pk, (lease, first) in self._seen.items() if first <= since}

    @property
    def seconds(self) -> float:
        """Until the last of them has been seen for long enough."""
        latest = max((first for _, first in self._seen.values()), default=0.0)
        return max(0.0, latest + settings().LEASE / 2 - now())
