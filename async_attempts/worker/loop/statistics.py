"""Statistics of outcomes, counted in memory and added to the table of tallies.

These are statistics: what a worker that is killed has counted since the last time is lost.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from django.db import Error

from ...lifecycle import Expired, Failed, Retried, Succeeded
from ...models.tally import BUCKETS, NUMBERS
from ...store import Store, Tallied
from ..shared.shared_memory import now

if TYPE_CHECKING:
    from ..execution.runner import Execution

FLUSH_INTERVAL: Final = 10.0

WORDS: Final = {
    Succeeded: "succeeded",
    Retried: "retried",
    Failed: "failed",
    Expired: "expired",
}
"""The outcomes that are counted; a snooze and a release are no result of an execution."""

LONGEST: Final = tuple(BUCKETS.values())
SHORTEST: Final = LONGEST[0]
COUNT, WAIT, RUN, HISTOGRAM = range(4)

logger = logging.getLogger("async_attempts")


class Statistics:
    """Counts the outcomes of one worker, in the thread that records them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counted: dict[tuple[str, str, str, type], list[float]] = {}
        self._flush_at = 0.0

    def count(self, executions: Iterable[Execution], lost: Collection[tuple[bytes, int]]) -> None:
        """Count what was recorded: all of `executions` but those of the `lost` fences."""
        counted = self._counted
        if not counted:
            self._flush_at = now() + FLUSH_INTERVAL
        last, numbers = None, [0.0]
        for claim, outcome, _, recorded, _, seconds in executions:
            if lost and not recorded and claim.fence in lost:
                continue
            key = (claim.target, claim.method_name, claim.queue, type(outcome))
            # Strings that were just read have no hash yet, and mostly the next is like the last.
            if key != last:
                last = key
                numbers = counted.setdefault(key, [0] * len(NUMBERS))
            numbers[COUNT] += 1
            numbers[WAIT] += claim.waited
            numbers[RUN] += seconds
            bucket = bisect_left(LONGEST, seconds) if seconds > SHORTEST else 0
            numbers[HISTOGRAM + bucket] += 1

    def flush_if_due(self) -> None:
        """Add it to the table, if something has been counted for long enough."""
        if self._counted and now() >= self._flush_at:
            self.flush()

    def flush(self) -> None:
        """Add what was counted to the table, in one statement. No error leaves this method."""
        counted = {
            Tallied(queue, f"{target}.{method}", WORDS[outcome]): numbers
            for (target, method, queue, outcome), numbers in self._counted.items()
            if outcome in WORDS
        }
        try:
            self._store.statistics.add_tallies(counted)
        except Error as error:
            # No attempt is to pay for them; other statements notice if the database is gone.
            logger.warning("tallies could not be written yet: %s", type(error).__name__)
            self._flush_at = now() + FLUSH_INTERVAL
        else:
            self._counted.clear()
