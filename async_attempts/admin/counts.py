"""Counts up to a cap, so that a page opens quickly with millions of rows."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from django.core.paginator import Paginator
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest

from ..lifecycle import RUNNING, Status
from .cells import STATES
from .rows import ReadableChangeList

if TYPE_CHECKING:
    _Paginator = Paginator[Any]
else:
    # Django's class takes no type parameters when it is run.
    _Paginator = Paginator

COUNT_CAP: Final = 10_000


class CappedPaginator(_Paginator):
    """A paginator that counts and offers no more than `COUNT_CAP` rows."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        return min(self._count_beyond_cap, COUNT_CAP)

    @property
    def is_capped(self) -> bool:
        """True if there are more rows than were counted."""
        return self._count_beyond_cap > COUNT_CAP

    @cached_property
    def _count_beyond_cap(self) -> int:
        return self.object_list.order_by().values("pk")[: COUNT_CAP + 1].count()


class CappedChangeList(ReadableChangeList):
    """A list that tells its template whether its count is capped."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.count_cap = COUNT_CAP
        self.is_capped = getattr(self.paginator, "is_capped", False)
        if self.is_capped:
            # Django's search form prints the count as if it were one unless the two are equal.
            self.full_result_count = self.result_count


def count_states(attempts: QuerySet[Any], most: int) -> Counter[str] | None:
    """Count `attempts` by state, in one statement; return None for more than `most`."""
    claimed = Q(claimed_by__isnull=False)
    conditions = {state: Q(status=state) for state in STATES}
    conditions[Status.PENDING] &= ~claimed
    conditions[RUNNING] = Q(status=Status.PENDING) & claimed
    some = attempts.order_by()[: most + 1]
    counts = some.aggregate(**{s: Count("pk", filter=which) for s, which in conditions.items()})
    states = Counter({state: n for state, n in counts.items() if n})
    return None if states.total() > most else states
