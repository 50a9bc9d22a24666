"""Forget the pace of a key when it tells nothing any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ..models import DatabaseNow
from .coalescing import LOOK_AFTER, WAITS
from .rows import Rows, seconds_from_now

LOOK_AGAIN: Final = 3600.0
"""Seconds until a worker looks again at what still waits."""


class Forgetting(Rows):
    """Away with the memory of calls."""

    def forget_paces(self, limit: int = 500) -> int:
        """Look at the paces whose time to do so has come; returns how many were forgotten.

        One is kept while its last attempt waits, and until its period after that one's begin. Of
        one that is gone it is only known that it began before this look. What a caller has locked
        is left for the next time.
        """
        due = self.paces.filter(look_at__lte=DatabaseNow()).order_by("look_at")
        if not due.exists():
            return 0

        def work() -> int:
            locked = due.select_for_update(skip_locked=True).annotate(now=DatabaseNow())
            paces = list(locked[:limit])
            rows = self.attempts.filter(pk__in=[p.attempt_id for p in paces if p.attempt_id])
            waiting = set(rows.filter(WAITS).values_list("pk", flat=True))
            last = dict(rows.values_list("pk", "started_at"))
            over: list[bytes] = []
            for pace in paces:
                if pace.attempt_id is None or _is_free(pace, last, waiting):
                    over.append(pace.pk)
                else:
                    self._look_later(pace, is_gone=pace.attempt_id not in last)
            self.delete_paces(over)
            return len(over)

        return self.whole(work)

    def delete_paces(self, keys: Sequence[bytes]) -> None:
        """Delete these paces, which are locked, and touch no others."""
        self.paces.filter(pk__in=keys)._raw_delete(self.alias)

    def _look_later(self, pace: Any, *, is_gone: bool) -> None:
        mine = self.paces.filter(pk=pace.pk)
        if is_gone:
            # From now on the next one may begin after a period.
            mine.update(attempt_id=None, calls=0, look_at=seconds_from_now(pace.period))
        else:
            mine.update(look_at=seconds_from_now(LOOK_AGAIN))


def _is_free(pace: Any, last: dict[UUID, datetime | None], waiting: set[UUID]) -> bool:
    """Whether the next one may begin at any time."""
    if pace.attempt_id in waiting:
        return False
    if not pace.period:
        return True
    began = last.get(pace.attempt_id)
    return began is not None and began + timedelta(seconds=pace.period + LOOK_AFTER) < pace.now
