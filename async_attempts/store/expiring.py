"""Expire what nobody has claimed before its `expires_at`, walking the live rows by their indexes.

No index has `expires_at`: nearly every attempt would pay for what few have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import BooleanField, ExpressionWrapper, Q

from ..lifecycle import Status, sources_of
from ..models import DatabaseNow
from .claims import TOO_LATE
from .depending import Depending
from .rows import ended

BEST: Final = ("-priority", "scheduled_at", "id")
WALKS: Final = {
    Status.PENDING: ("queue", "num_crashes", *BEST),
    Status.SCHEDULED: ("scheduled_at", "id"),
    Status.WAITING: ("blockers", "limit_key", *BEST),
}
"""The columns by which their index orders the rows of a status."""


class Place(NamedTuple):
    """A place in a walk: the status, and the indexed columns of the last row that was seen."""

    status: Status
    columns: tuple[Any, ...] = ()


START: Final = Place(Status.PENDING)


class Expiring(Depending):
    """From pending, scheduled or waiting to expired, without a person or a claim."""

    def expire_overdue(
        self, limit: int = 1000, *, after: Place | None = None
    ) -> tuple[list[UUID], Place | None]:
        """Look at the next `limit` live attempts after a place; expire those past `expires_at`.

        What is claimed, or locked by others, is left. Returns the ids of the expired ones and the
        place to go on after; None when the walk has reached the end.
        """
        place = after or START
        seen = self._next(place, limit)
        expired = self._expire([pk for *_, pk, is_overdue in seen if is_overdue])
        if len(seen) == limit:
            return expired, Place(place.status, tuple(seen[-1][:-1]))
        later = [*WALKS][[*WALKS].index(place.status) + 1 :]
        return expired, Place(later[0]) if later else None

    def _next(self, place: Place, limit: int) -> list[tuple[Any, ...]]:
        """The next rows after a place: the columns of the index, and whether they're overdue."""
        order = WALKS[place.status]
        overdue = ExpressionWrapper(_overdue(), output_field=BooleanField())
        rows = self.attempts.filter(status=place.status).order_by(*order)
        columns = rows.values_list(*(name.removeprefix("-") for name in order), overdue)
        seen: list[tuple[Any, ...]] = []
        for part in _behind(order, place.columns):
            seen += columns.filter(part)[: limit - len(seen)]
            if len(seen) == limit:
                break
        return seen

    def _expire(self, ids: list[UUID]) -> list[UUID]:
        if not ids:
            return []
        overdue = self.attempts.filter(_overdue(), status__in=sources_of("expire") & {*Status})

        def work() -> list[UUID]:
            rows = self.skipping_locked(overdue.filter(pk__in=ids).order_by("pk"))
            locked = list(rows.values_list("pk", flat=True))
            columns = ended(Status.EXPIRED, reason=TOO_LATE.reason, blockers=0)
            overdue.filter(pk__in=locked).update(**columns)
            self.close_when_committed(self.with_dependents(locked))
            return locked

        return self.whole(work)


def _overdue() -> Q:
    return Q(expires_at__lte=DatabaseNow(), claimed_by=None)


def _behind(order: tuple[str, ...], columns: tuple[Any, ...]) -> Iterator[Q]:
    """What lies behind a row in this order, in parts that are one range of the index each."""
    if not columns:
        yield Q()
        return
    names = [name.removeprefix("-") for name in order]
    for last in reversed(range(len(order))):
        same = dict(zip(names[:last], columns[:last], strict=True))
        side = "lt" if order[last].startswith("-") else "gt"
        yield Q(**same, **{f"{names[last]}__{side}": columns[last]})
