"""Ends of attempts: what follows a bad one is written with it, and a signal tells of each."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from ..batches import in_batches
from ..lifecycle import FINAL, Status
from ..models import Condition, DatabaseNow, Dependency
from ..models.follow_ups import End, FollowUp, follow_up
from ..signals import ended
from .database import Database
from .expressions import seconds_from_now, status_when_due

logger = logging.getLogger("async_attempts")

BAD_ENDS: Final = (Status.FAILED, Status.EXPIRED)
COLUMNS: Final = tuple(
    "status target_pk reason error_class num_attempts on_ended metadata subject_type "
    "subject_id".split()
)
ROWS_AT_ONCE: Final = 100

Deliver = Callable[[Callable[[], object]], object]
"""Calls what is given to it, now or later, here or in another thread."""


class Ends:
    """The ends of attempts, whoever records them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._deliver: Deliver = _call_at_once

    def deliver_by(self, deliver: Deliver) -> None:
        """Have the receivers of `ended` called by `deliver`: a worker's announcer.

        A loop that claims and records calls no project's code itself.
        """
        self._deliver = deliver

    def note(self, ids: Collection[UUID]) -> None:
        """Do what the ends of these attempts bring with them, in the transaction of the ends.

        Those of them that haven't ended are left.
        """
        self.follow(ids)
        self.announce(ids)

    def follow(self, ids: Iterable[UUID]) -> None:
        """Write what follows those of these attempts that have failed or expired.

        Receivers of `enqueued` aren't told: they might keep a worker's loop waiting.
        """
        for some in in_batches(sorted(ids)):
            lost = self.database.attempts.filter(
                pk__in=some, status__in=BAD_ENDS, on_ended__isnull=False
            )
            found = [follow_up(row) for row in lost.order_by("pk").only("pk", *COLUMNS)]
            self._insert([one for one in found if one is not None])

    def announce(self, ids: Collection[UUID]) -> None:
        """Tell, after the commit, how those of these attempts ended that have."""
        if ids and ended.has_listeners(self.database.model):
            by_status: defaultdict[str, list[UUID]] = defaultdict(list)
            rows = self.database.attempts.filter(pk__in=ids, status__in=FINAL)
            for pk, status in rows.values_list("pk", "status"):
                by_status[status].append(pk)
            for status, some in by_status.items():
                self.announce_as(status, some)

    def announce_as(self, status: str, ids: Collection[UUID]) -> None:
        """Tell, after the commit, that these attempts have ended with this status."""
        if ids and ended.has_listeners(self.database.model):
            named = {"database": self.database.alias, "status": str(status), "attempt_ids": ids}
            send = partial(ended.send_robust, self.database.model, **named)
            transaction.on_commit(partial(self._deliver, send), self.database.alias, robust=True)

    def _insert(self, new: list[FollowUp]) -> None:
        if not new:
            return
        for row, relative in new:
            _begin(row, relative)
        # The manager's own would prepare and seal each of them.
        QuerySet.bulk_create(self.database.attempts, [row for row, _ in new], ROWS_AT_ONCE)
        edges = [
            Dependency(
                attempt_id=row.pk,
                prerequisite_id=UUID(End.of(row.metadata).attempt),  # type: ignore[union-attr]
                condition=Condition.FAILURE,
                state=Dependency.State.MET,
            )
            for row, _ in new
        ]
        self.database.dependencies.bulk_create(edges, ROWS_AT_ONCE)
        self.database.notify_due()


def _begin(row: Any, relative: Mapping[str, float]) -> None:
    """Give a new row its moments and its first status, by the database's clock."""
    due = seconds_from_now(relative.get("scheduled_at") or 0.0)
    expires = relative.get("expires_at")
    row.scheduled_at, row.status = due, status_when_due(due)
    row.expires_at = None if expires is None else seconds_from_now(expires)
    row.created_at = DatabaseNow()


def _call_at_once(hook: Callable[[], object]) -> None:
    hook()
