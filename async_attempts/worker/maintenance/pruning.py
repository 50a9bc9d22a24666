"""Pruning: old attempts are deleted in short batches, walk after walk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.db import IntegrityError

from ...retention import Retention
from ...store import Store, Walk
from ..shared.shared_memory import now

FEWEST_PRUNED: Final = 10
FIRST_PRUNED: Final = 100
MOST_PRUNED: Final = 1000
SLOW_BATCH: Final = 0.05
"""Seconds after which the next batch is to be half as large; before that, twice."""


class Pruner:
    """Prunes in short batches, so that nothing waits long for it; walks again and again."""

    def __init__(self, store: Store, *, only_counts: bool = False) -> None:
        self._prune: Callable[..., tuple[int, Walk | None]] = (
            store.retention.count_unwanted if only_counts else store.retention.prune
        )
        self._store = store
        self._walk: Walk | None = None
        self.batch_size = FIRST_PRUNED
        self.num_refused = 0
        """The number passed over, as a project's own rows keep them from being deleted."""

    @property
    def is_through(self) -> bool:
        """True if the last walk came to its end; the next batch begins another."""
        return self._walk is None

    def prune(self, retention: Retention) -> int:
        """Look at the next batch; returns how many of it were deleted (or only counted)."""
        began = now()
        try:
            number, self._walk = self._prune(retention, limit=self.batch_size, walk=self._walk)
        except IntegrityError:
            self._close_in(retention)
            return 0
        if now() - began > SLOW_BATCH:
            self.batch_size = max(FEWEST_PRUNED, self.batch_size // 2)
        else:
            self.batch_size = min(MOST_PRUNED, self.batch_size * 2)
        return number

    def _close_in(self, retention: Retention) -> None:
        """Take half as many, and pass over the last one, which a project's foreign key keeps."""
        if self.batch_size > 1:
            self.batch_size //= 2
            self._walk = self._walk or Walk()
            return
        self.num_refused += 1
        _, self._walk = self._store.retention.count_unwanted(retention, limit=1, walk=self._walk)
