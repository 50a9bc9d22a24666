"""Ends of attempts: what follows a bad one is written with it, and a signal tells of each."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from ..batches import in_batches
from ..lifecycle import FINAL, Status
from ..models import AbstractAttempt, Condition, DatabaseNow, Dependency
from ..models.follow_ups import End, FollowUp, follow_up
from ..signals import ended
from .database import Database
from .expressions import seconds_from_now, status_when_due
from .transactions import is_about_a_value

logger = logging.getLogger("async_attempts")

BAD_ENDS: Final = (Status.FAILED, Status.EXPIRED)
COLUMNS: Final = tuple(
    "status target target_pk method_name reason error_class num_attempts on_ended metadata "
    "subject_type subject_id".split()
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
            # Not by their status: PostgreSQL might walk over the index of all that has failed.
            rows = self.database.attempts.filter(pk__in=some, on_ended__isnull=False)
            noted = rows.order_by("pk").only("pk", *COLUMNS, *self._own_columns)
            self._follow([row for row in noted if row.status in BAD_ENDS])

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

    def _follow(self, lost: Sequence[Any]) -> None:
        """Write what follows these rows; an end is recorded even if the database refuses that."""
        if not lost:
            return
        try:
            with transaction.atomic(self.database.alias):
                self._insert(lost)
        except Exception as error:
            if not is_about_a_value(error):
                raise
            if len(lost) > 1:
                for row in lost:
                    self._follow([row])
            else:
                logger.error(
                    "%s %s: what is to follow could not be enqueued: %s",
                    *(lost[0], lost[0].pk, type(error).__name__),
                )

    def _insert(self, lost: Iterable[Any]) -> None:
        new = self._follow_ups(lost)
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

    def _follow_ups(self, lost: Iterable[Any]) -> list[FollowUp]:
        found = []
        for ended_row in lost:
            if (new := follow_up(ended_row)) is not None:
                for name in self._own_columns:
                    setattr(new.row, name, getattr(ended_row, name))
                found.append(new)
        return found

    @cached_property
    def _own_columns(self) -> list[str]:
        """The columns that a project has added, of which what follows has the same values."""
        ours = {field.attname for field in AbstractAttempt._meta.concrete_fields}
        return [
            field.attname
            for field in self.database.model._meta.concrete_fields
            if field.attname not in ours and not (field.generated or field.unique)
        ]


def _begin(row: Any, relative: Mapping[str, float]) -> None:
    """Give a new row its moments and its first status, by the database's clock."""
    due = seconds_from_now(relative.get("scheduled_at") or 0.0)
    expires = relative.get("expires_at")
    row.scheduled_at, row.status = due, status_when_due(due)
    row.expires_at = None if expires is None else seconds_from_now(expires)
    row.created_at = DatabaseNow()


def _call_at_once(hook: Callable[[], object]) -> None:
    hook()
