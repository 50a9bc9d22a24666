"""Debounce and throttle: a call takes the place of the attempt of its key that still waits.

All attempts of a key have it in their `unique_key`, with a number that tells which one is the last.
A call looks for that: if it waits, one guarded UPDATE changes it, and if it has begun, the call
inserts the next number. So callers of one key go one after the other, and nothing but this file
knows of it: neither the claim, nor what ends an attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from copy import copy
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import BooleanField, DateTimeField, Expression, ExpressionWrapper, F, Q, Value
from django.db.models.expressions import DatabaseDefault
from django.db.models.functions import Greatest, Least

from ..exceptions import DuplicateAttempt
from ..lifecycle import LIVE
from ..models import AbstractAttempt, DatabaseNow
from ..models.fields import Mark, marked
from ..models.sealing import seal_for
from ..models.unique_keys import CALLS, DebounceKey
from ..targets import DebounceOptions
from .database import Database
from .expressions import seconds_from_now, status_when_due
from .insert import Insert

WAITS: Final = Q(status__in=LIVE, blockers=0, claimed_by=None, started_at=None, num_attempts=0)
"""True for an attempt that has never begun, or that a person retried. One that was released unbegun
waits again, and so does one that waits for a slot. One that is retried by its backoff doesn't."""

REPLACED: Final = frozenset({"args", "keep_result"})
"""The only parts of promise and state that change when another call takes the place of the one that
waits."""

TRIES: Final = 10


class Last(NamedTuple):
    """The last attempt of a key, as it was when it was looked at."""

    id: UUID
    unique_key: bytes
    scheduled_at: datetime
    started_at: datetime | None
    num_attempts: int
    waits: bool

    def free_at(self, period: float) -> Expression:
        """Return the moment at which the next one of a throttled key may begin."""
        if self.started_at is not None:
            return _moment(self.started_at + timedelta(seconds=period))
        if self.waits or self.num_attempts:
            # It has just begun, or its last execution was released: nobody knows when it began.
            return seconds_from_now(period)
        # It ended before it could begin, and was itself put off because of the one before it.
        return _moment(self.scheduled_at)


class Debounce:
    """Debounced and throttled calls: a new attempt, or the one of the key that still waits."""

    def __init__(self, database: Database, insert: Insert) -> None:
        self.database = database
        self.insert = insert

    def write(self, attempt: AbstractAttempt) -> AbstractAttempt:
        """Return the row of a debounced or throttled call, prepared as `attempt`, which is left.

        Its `created` is False if the row was there before. Waits for another transaction that has
        called the same key and hasn't ended.
        """

        def work() -> AbstractAttempt:
            # The caller's, without a savepoint; else one of its own.
            is_open = self.database.connection.in_atomic_block
            with nullcontext() if is_open else transaction.atomic(self.database.alias):
                return self._debounce_within(attempt, calls=1)

        return self.database.retry_on_conflict(work)

    def write_each(self, attempts: Iterable[AbstractAttempt]) -> dict[UUID, AbstractAttempt]:
        """Do as `write`, in the order of the keys, in a transaction that is open.

        Of each key the last one counts. Returns the rows by the ids of `attempts`.
        """
        groups: dict[bytes, list[AbstractAttempt]] = {}
        for attempt in attempts:
            if attempt.debounce_key is not None:
                groups.setdefault(attempt.debounce_key.digest, []).append(attempt)
        found: dict[UUID, AbstractAttempt] = {}
        for _, group in sorted(groups.items()):
            row = self._debounce_within(group[-1], len(group))
            found |= dict.fromkeys([attempt.pk for attempt in group], row)
        return found

    def _debounce_within(self, attempt: AbstractAttempt, calls: int) -> AbstractAttempt:
        key: Any = attempt.debounce_key
        begun: set[UUID] = set()
        for number in range(TRIES):
            last = self._last_of(key, number)
            if last is None or not last.waits or last.id in begun:
                row = self._begin(attempt, key, last, calls)
            else:
                row = self._take_place(attempt, key.options, last.id, calls)
                # The snapshot of a REPEATABLE READ caller may show for ever that it waits.
                begun.add(last.id)
            if row is not None:
                return row
        raise DuplicateAttempt(
            f"{attempt}: its {key.options.name} key was taken and given back {TRIES} times while "
            "enqueueing; enqueue again."
        )

    def _last_of(self, key: DebounceKey, look: int) -> Last | None:
        """Read, without a lock: an open transaction must hold up nothing that has begun."""
        waits = ExpressionWrapper(WAITS, output_field=BooleanField())
        rows = self.insert.rows_between(key.first, key.last, look).annotate(waits=waits)
        row = rows.values_list(*Last._fields).first()
        if row is None:
            return None
        pk, unique_key, *others = row
        return Last(pk, bytes(unique_key), *others)

    def _take_place(
        self, attempt: AbstractAttempt, options: DebounceOptions, waiting: UUID, calls: int
    ) -> AbstractAttempt | None:
        """Change what waits to what `attempt` promises; None when it has begun meanwhile."""
        row = _copy(attempt)
        if options.adaptive:
            calls += self._calls_of(waiting)
            row.metadata = {**row.metadata, CALLS: calls}
        seal_for(row, waiting)
        columns = {f.name: f.pre_save(row, add=False) for f in self._replaced}
        columns = {n: v for n, v in columns.items() if not isinstance(v, DatabaseDefault)}
        if options.debounce is not None:
            due = _due(options, calls)
            columns |= {"scheduled_at": due, "status": status_when_due(due)}
        elif options.throttle is not None:
            # A person may have put it off for longer than any call has to wait.
            latest = seconds_from_now(options.throttle)
            columns["scheduled_at"] = Least(F("scheduled_at"), latest)
        if not self.database.attempts.filter(WAITS, pk=waiting).update(**columns):
            return None
        self.database.notify_due()
        row._state.adding = False
        row.refresh_from_db()
        row.created = False
        return row

    def _calls_of(self, waiting: UUID) -> int:
        """Lock the attempt if it waits; returns how many adaptive calls it stands for."""
        no_key = self.database.connection.features.has_select_for_no_key_update
        rows = self.database.attempts.filter(WAITS, pk=waiting).select_for_update(no_key=no_key)
        metadata = rows.values_list("metadata", flat=True).first()
        calls = metadata.get(CALLS) if isinstance(metadata, dict) else None
        return calls if type(calls) is int else 0

    def _begin(
        self, attempt: AbstractAttempt, key: DebounceKey, last: Last | None, calls: int
    ) -> AbstractAttempt | None:
        """Write a new row after the last one of its key; None if another caller has done so."""
        row, options = _copy(attempt), key.options
        columns = row.__dict__
        columns["unique_key"] = key.first if last is None else key.after(last.unique_key)
        due: Expression = seconds_from_now(options.delay(calls))
        if options.throttle is not None and last is not None:
            due = Greatest(last.free_at(options.throttle), DatabaseNow())
        columns["scheduled_at"], columns["status"] = due, status_when_due(due)
        if options.adaptive:
            columns["metadata"] = {**row.metadata, CALLS: calls}
        return row if self.insert.write_keyed(row) else None

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


def _copy(attempt: AbstractAttempt) -> AbstractAttempt:
    """A row for one try: when it is undone, the one that was prepared is as it was."""
    row = type(attempt).__new__(type(attempt))
    row.__dict__ = attempt.__dict__ | {"_state": copy(attempt._state)}
    return row


def _due(options: DebounceOptions, calls: int) -> Expression:
    """Return when the waiting attempt, which stands for this number of `calls`, is due."""
    due: Expression = seconds_from_now(options.delay(calls))
    if options.max_wait is None:
        return due
    latest = F("created_at") + timedelta(seconds=options.max_wait)
    return Least(due, ExpressionWrapper(latest, output_field=DateTimeField()))


def _moment(value: datetime) -> Expression:
    return Value(value, output_field=DateTimeField())
