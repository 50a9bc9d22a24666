"""`one_of`: of one key one attempt is live, and a call finds it, changes it, or comes after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db.models import Case, CharField, F, When

from ..models import AbstractAttempt, Condition, DatabaseNow, Edge
from ..models.clock import NOW
from ..models.sealing import seal
from ..models.unique_keys import SharedKey
from .database import Database
from .expressions import status_when_due
from .insert import Insert
from .last_attempts import (
    YET_TO_BEGIN,
    Last,
    LastAttempts,
    copied,
    following,
)
from .prerequisites import Prerequisites


class OneOfKey:
    """Calls of which one attempt is live: a new one, or the one that is there.

    An attempt that serves is locked until the caller's transaction has ended: a worker that began
    it before would not see what the caller has written.
    """

    def __init__(
        self,
        database: Database,
        insert: Insert,
        last_attempts: LastAttempts,
        prerequisites: Prerequisites,
    ) -> None:
        self.database = database
        self.insert = insert
        self.last_attempts = last_attempts
        self.prerequisites = prerequisites

    def write_within(self, attempts: Sequence[AbstractAttempt]) -> dict[UUID, AbstractAttempt]:
        """Write what these calls of one key become, one after the other.

        The last one counts of those that replace each other, the first one of any others.
        """
        return dict(self._each(attempts))

    def _each(self, attempts: Sequence[AbstractAttempt]) -> Iterator[tuple[UUID, AbstractAttempt]]:
        for when_taken, alike in groupby(attempts, _when_taken):
            first, *others = alike
            row = self._write(others[-1] if others and when_taken == "replace" else first)
            yield first.pk, row
            for attempt in others:
                served = copied(row)
                served.created = False
                yield attempt.pk, served

    def _write(self, attempt: AbstractAttempt) -> AbstractAttempt:
        key: Any = attempt.shared_key
        return self.last_attempts.row_after(attempt, key, partial(self._try, attempt, key))

    def _try(
        self, attempt: AbstractAttempt, key: SharedKey, last: Last | None
    ) -> AbstractAttempt | None:
        """Return the row of a call that has found `last`; None if that isn't so any more."""
        when_taken = _when_taken(attempt)
        if last is not None and last.is_running:
            if when_taken == "skip":
                return self._served(self._running(last.id))
            return self._begin(attempt, key, last, follows=when_taken == "again")
        if last is None or not self._may_serve(last, when_taken):
            return self._begin(attempt, key, last)
        if when_taken == "replace":
            return self._replace(attempt, last)
        return self._served(self.insert.lock_unclaimed(last.id))

    @staticmethod
    def _may_serve(last: Last, when_taken: str) -> bool:
        """Return True if an attempt that nobody has claimed stands for this call, or makes room."""
        if not last.is_live:
            return False
        # What is overdue expires, whoever comes across it, and would take the call with it.
        return last.is_yet_to_begin if when_taken == "replace" else not last.is_overdue

    def _begin(
        self, attempt: AbstractAttempt, key: SharedKey, last: Last | None, *, follows: bool = False
    ) -> AbstractAttempt | None:
        """Write a new row after the last one of its key; None if another caller has done so.

        `follows`: to begin when that one has ended.
        """
        row = following(attempt, key, last)
        if follows and last is not None:
            row.edges = (Edge(last.id, Condition.ANY),)
            row.__dict__ |= {"status": "waiting", "blockers": 1}
            seal(row)
        if not self.insert.write_keyed(row):
            return None
        if row.edges:
            self.prerequisites.follow(row)
        return row

    def _replace(self, attempt: AbstractAttempt, last: Last) -> AbstractAttempt | None:
        """Change what has never begun to what `attempt` promises; None when it has begun."""
        row = copied(attempt)
        if last.blockers:
            # Its arguments are bound to the attempt that it follows.
            mine = self.database.dependencies.filter(attempt_id=last.id)
            pairs = mine.values_list("prerequisite_id", "condition")
            row.edges = tuple(Edge(*pair) for pair in pairs)
        due = row.__dict__["scheduled_at"]
        due = DatabaseNow() if due is NOW else due
        status = Case(
            When(blockers=0, then=status_when_due(due)),
            default=F("status"),
            output_field=CharField(),
        )
        columns = {"scheduled_at": due, "status": status}
        columns |= {"limit_key": row.limit_key, "concurrency": row.concurrency}
        return self.last_attempts.change(row, last.id, YET_TO_BEGIN, columns)

    def _running(self, pk: UUID) -> AbstractAttempt | None:
        """Return the attempt if a worker has claimed it; nothing waits for it."""
        rows: Any = self.database.attempts.running()
        row: AbstractAttempt | None = rows.filter(pk=pk).first()
        return row

    @staticmethod
    def _served(row: AbstractAttempt | None) -> AbstractAttempt | None:
        if row is not None:
            row.created = False
        return row


def _when_taken(attempt: AbstractAttempt) -> str:
    key: Any = attempt.shared_key
    when_taken: str = key.options.when_taken
    return when_taken
