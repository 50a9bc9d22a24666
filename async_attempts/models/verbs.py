"""What people, and the code that enqueued it, can do with one row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ..conf import settings
from ..exceptions import InvalidTransition
from ..lifecycle import RUNNING, Status
from . import ports
from .database import database_of
from .editing import GuardedRow
from .ports import Changes
from .querysets import AttemptQuerySet, writing


class VerbsRow(GuardedRow):
    """Verbs whose statement names the states it starts from; a stale copy changes nothing."""

    class Meta:
        abstract = True

    @property
    def state(self) -> str:
        """The status, or "running" for a pending attempt that a worker has claimed."""
        if self.status == Status.PENDING and self.claimed_by is not None:
            return RUNNING
        return str(self.status)

    @writing
    def perform(self) -> None:
        """Claim and perform this attempt here and now, if it is due, and record the outcome.

        What the target raises is recorded as a failure, not raised.
        Raises InvalidTransition when the attempt isn't pending and due, or is running.
        """
        ports.perform(self)
        self.refresh_from_db()

    @writing
    def expire(self, reason: str = "") -> None:
        """It should no longer run. Raises InvalidTransition when it has ended already."""
        self._change("expire", self._store.changes.expire(self._myself, reason))

    @writing
    def fail(self, reason: str = "") -> None:
        """It failed for good. Raises InvalidTransition when it has ended already."""
        self._change("fail", self._store.changes.fail(self._myself, reason))

    @writing
    def retry(self, at: datetime | None = None) -> None:
        """Run it again, now or `at` an aware datetime; its executions are counted anew.

        Raises InvalidTransition unless it failed or expired.
        """
        self._change("retry", self._store.changes.retry(self._myself, at))

    @writing
    def request_cancel(self) -> None:
        """Expire it if it isn't running, else tell it to stop.

        A running target reads `current_attempt().cancel_requested`; if it doesn't, the attempt is
        expired in place of its next execution. Raises InvalidTransition when it has ended.
        """
        self._change("request_cancel", self._store.changes.request_cancel(self._myself))

    def handle_perform_error(self, error: BaseException) -> None:
        """Called in the worker after a failed execution was recorded; override it at will.

        Calls the setting `ON_ERROR` with the attempt and the error. What it raises is logged.
        """
        if on_error := settings().ON_ERROR:
            on_error(self, error)

    @property
    def _myself(self) -> AttemptQuerySet[Any]:
        return AttemptQuerySet(type(self), using=database_of(self)).filter(pk=self.pk)

    @property
    def _store(self) -> ports.StorePort:
        return ports.store_for(database_of(self))

    def _change(self, verb: str, changes: Changes) -> None:
        self.refresh_from_db()
        if not changes.changed:
            why = next(iter(changes.left), self.state)
            raise InvalidTransition(f"{self}: {verb} is not possible: it is {why}.")
