"""The last attempt of a key that calls share, and how a later call changes one that waits.

All attempts of a key have it in their `unique_key`, with a number that tells which one is the last.
A call looks for that, and either leaves or changes it, or inserts the next number. So callers of
one key go one after the other, and neither the claim knows of it, nor what ends an attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from datetime import datetime
from functools import cached_property
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.db.models.expressions import DatabaseDefault

from ..exceptions import DuplicateAttempt
from ..lifecycle import LIVE
from ..models import AbstractAttempt, DatabaseNow
from ..models.fields import Mark, marked
from ..models.sealing import seal_for
from ..models.unique_keys import SharedKey
from .database import Database
from .insert import Insert

YET_TO_BEGIN: Final = Q(status__in=LIVE, claimed_by=None, started_at=None, num_attempts=0)
"""True for an attempt that has never begun, or that a person retried. One that was released unbegun
waits again, and so does one that waits for a slot. One that is retried by its backoff doesn't."""

REPLACED: Final = frozenset({"args", "keep_result"})
"""The only parts of promise and state that change when another call takes the place of the one that
waits."""

TRIES: Final = 100
"""Looks at a key, each but the last lost to a caller that was faster, or to a claim. One call in a
thousand of six busy threads needed more than ten, while a worker claimed without a pause."""


class Last(NamedTuple):
    """The last attempt of a key, as it was when it was looked at."""

    id: UUID
    unique_key: bytes
    status: str
    claimed_by: UUID | None
    blockers: int
    scheduled_at: datetime
    started_at: datetime | None
    num_attempts: int
    is_yet_to_begin: bool
    is_overdue: bool
    """True if its `expires_at` has passed: if nobody has claimed it, nobody will begin it."""

    @property
    def is_live(self) -> bool:
        return self.status in LIVE

    @property
    def is_running(self) -> bool:
        return self.is_live and self.claimed_by is not None


class LastAttempts:
    """The last attempts of keys, on one database."""

    def __init__(self, database: Database, insert: Insert) -> None:
        self.database = database
        self.insert = insert

    def row_after(
        self,
        attempt: AbstractAttempt,
        key: SharedKey,
        work: Callable[[Last | None], AbstractAttempt | None],
    ) -> AbstractAttempt:
        """Return what `work` makes of the last attempt of a key.

        It returns None if that isn't as it was found any more, and is called with the next look.
        Raises DuplicateAttempt if that never ends.
        """
        look, before = 0, None
        for _ in range(TRIES):
            last = self.of(key, look)
            if (row := work(last)) is not None:
                return row
            # Only what is found twice may be a snapshot's. To lock what others change meanwhile
            # would be a deadlock with those who wait for it.
            look, before = look + 1 if look and last == before else 1, last
        raise DuplicateAttempt(
            f"{attempt}: its {key.options.name} key was taken and given back {TRIES} times while "
            "enqueueing; enqueue again."
        )

    def of(self, key: SharedKey, look: int) -> Last | None:
        """Read, without a lock: an open transaction must hold up nothing that has begun.

        `look`: 0 for the first one, 1 for another, and one more whenever nothing has changed.
        """
        is_yet = ExpressionWrapper(YET_TO_BEGIN, output_field=BooleanField())
        late = ExpressionWrapper(
            Q(expires_at__isnull=False, expires_at__lte=DatabaseNow()), output_field=BooleanField()
        )
        rows = self.insert.rows_between(key.first, key.last, look)
        rows = rows.annotate(is_yet_to_begin=is_yet, is_overdue=late)
        row = rows.values_list(*Last._fields).first()
        if row is None:
            return None
        pk, unique_key, *others = row
        return Last(pk, bytes(unique_key), *others)

    def change(
        self, row: AbstractAttempt, waiting: UUID, guard: Q, columns: dict[str, Any]
    ) -> AbstractAttempt | None:
        """Change what waits to what `row` promises, but for `columns`; None if `guard` is false."""
        seal_for(row, waiting)
        values = {f.name: f.pre_save(row, add=False) for f in self._replaced}
        values = {n: v for n, v in values.items() if not isinstance(v, DatabaseDefault)}
        if not self.database.attempts.filter(guard, pk=waiting).update(**values | columns):
            return None
        self.database.notify_due()
        row._state.adding = False
        row.refresh_from_db()
        row.created = False
        return row

    @cached_property
    def _replaced(self) -> Sequence[Any]:
        """The fields that a call decides: all but what tells one row from another, and its state.

        A column that a project added is among them, but for the moment at which a row was added.
        """
        kept = {*marked(self.database.model, Mark.PROMISE | Mark.STATE)} - REPLACED
        return [
            field
            for field in self.database.model._meta.concrete_fields
            if not field.generated
            and field.attname not in kept
            and not getattr(field, "auto_now_add", False)
        ]


def copied(attempt: AbstractAttempt) -> AbstractAttempt:
    """Return a row for one try: when it is undone, the one that was prepared is as it was."""
    row = type(attempt).__new__(type(attempt))
    row.__dict__ = attempt.__dict__ | {"_state": copy(attempt._state)}
    return row


def following(attempt: AbstractAttempt, key: SharedKey, last: Last | None) -> AbstractAttempt:
    """Return a copy of a prepared row, with the unique key after that of the last one."""
    row = copied(attempt)
    row.__dict__["unique_key"] = key.first if last is None else key.after(last.unique_key)
    return row
