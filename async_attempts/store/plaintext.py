"""Values that NullCipher stored in plain: which of them a key may seal, and a list of all of them.

A sealed value counts as ours. A plain one may have been forged by anybody who can write rows, with
its status and its times. So all of them are listed first, for a person who knows the targets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from ..encryption import NO_KEY, key_id_of
from ..ids import made_at
from ..lifecycle import FINAL
from .expressions import Header
from .store import Store

DECIDING_COLUMNS: Final = "target method_name status created_at".split()
"""The columns of an attempt by which `Plaintext` decides."""

ENDED, LIVE, SCHEDULE = "ended", "not ended", "schedule"


class Listed(NamedTuple):
    """The plain rows of one target: attempts that have ended, others, or schedules.

    `is_taken`: True if they are to be sealed. `first`, `last`: when they were enqueued, or made.
    """

    target: str
    kind: str
    is_taken: bool
    number: int
    first: datetime | None
    last: datetime | None


class Plaintext:
    """A choice of plain values to seal: those older than `until`, of attempts that have ended.

    `until`: an aware datetime. `live_targets`: the dotted names, with the method, of targets whose
    attempts are sealed before they have ended, too, and whose schedules are.
    """

    def __init__(self, until: datetime, live_targets: Collection[str] = ()) -> None:
        self.until = until
        self.live_targets = frozenset(live_targets)

    def takes(self, attempt: Any) -> bool:
        """True for an attempt whose values may be sealed, with those of its failures."""
        name = f"{attempt.target}.{attempt.method_name}"
        return attempt.created_at < self.until and (
            attempt.status in FINAL or name in self.live_targets
        )

    def takes_schedule(self, schedule: Any) -> bool:
        """True for a schedule whose arguments may be sealed. Its id says when it was made."""
        made = made_at(schedule.pk)
        return made is not None and made < self.until and schedule.target in self.live_targets

    def listed(self, store: Store, batch_size: int) -> list[Listed]:
        """Everything that is stored in plain, by target and time. Walks over all rows once.

        But for what is over the limits, which is never sealed.
        """
        rows = [*self._schedules(store), *self._attempts(store, batch_size)]
        found: dict[tuple[str, str, bool], Listed] = {}
        for target, kind, is_taken, moment in rows:
            key = target, kind, is_taken
            old = found.get(key, Listed(*key, 0, moment, moment))
            moments = [one for one in (old.first, old.last, moment) if one is not None]
            first, last = min(moments, default=None), max(moments, default=None)
            found[key] = Listed(*key, old.number + 1, first, last)
        return sorted(found.values(), key=lambda one: (one.target, str(one.first)))

    def _schedules(self, store: Store) -> Iterator[tuple[str, str, bool, datetime | None]]:
        for row in _with_headers(store.database.schedules, "args").only("id", "target"):
            if is_plain(row.head_of_args):
                yield row.target, SCHEDULE, self.takes_schedule(row), made_at(row.pk)

    def _attempts(
        self, store: Store, batch_size: int
    ) -> Iterator[tuple[str, str, bool, datetime | None]]:
        rows = _with_headers(store.database.attempts.order_by("pk"), "args", "sealed_result")
        rows = rows.only(*DECIDING_COLUMNS)
        after: UUID | None = None
        while batch := list((rows if after is None else rows.filter(pk__gt=after))[:batch_size]):
            failed = _with_plain_failures(store, [row.pk for row in batch])
            for row in batch:
                if row.pk in failed or is_plain(row.head_of_args, row.head_of_sealed_result):
                    kind = ENDED if row.status in FINAL else LIVE
                    yield f"{row.target}.{row.method_name}", kind, self.takes(row), row.created_at
            after = batch[-1].pk


def is_plain(*stored: Any) -> bool:
    """True if any of these stored values, or of their beginnings, is in plain."""
    return any(key_id_of(value) == NO_KEY for value in stored if value)


def _with_plain_failures(store: Store, ids: Iterable[UUID]) -> set[UUID]:
    failures = _with_headers(store.database.failures.filter(attempt_id__in=ids), "details")
    heads = failures.values_list("attempt_id", "head_of_details")
    # Nothing is kept of what was looked at: an attempt may have any number of failures.
    return {attempt_id for attempt_id, head in heads.iterator() if is_plain(head)}


def _with_headers(rows: QuerySet[Any], *columns: str) -> QuerySet[Any]:
    """The rows with no more of these columns than says by which key each is sealed."""
    heads: QuerySet[Any] = rows.annotate(**{f"head_of_{name}": Header(name) for name in columns})
    return heads
