"""Debounce and throttle: a call takes the place of the attempt of its key that still waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import DateTimeField, Expression, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Greatest, Least

from ..models import AbstractAttempt, DatabaseNow
from ..models.unique_keys import CALLS, SharedKey
from ..targets import DebounceOptions
from .database import Database
from .expressions import seconds_from_now, status_when_due
from .insert import Insert
from .last_attempts import (
    YET_TO_BEGIN,
    Last,
    LastAttempts,
    copied,
    following,
)

WAITS: Final = Q(YET_TO_BEGIN, blockers=0)


class Debounce:
    """Debounced and throttled calls: a new attempt, or the one of the key that still waits."""

    def __init__(self, database: Database, insert: Insert, last_attempts: LastAttempts) -> None:
        self.database = database
        self.insert = insert
        self.last_attempts = last_attempts

    def write_within(self, attempts: Sequence[AbstractAttempt]) -> dict[UUID, AbstractAttempt]:
        """Write what these calls of one key become; the last one counts, all get its row."""
        row = self._write(attempts[-1], len(attempts))
        return dict.fromkeys([attempt.pk for attempt in attempts], row)

    def _write(self, attempt: AbstractAttempt, calls: int) -> AbstractAttempt:
        key: Any = attempt.shared_key
        begun: set[UUID] = set()

        def work(last: Last | None) -> AbstractAttempt | None:
            if last is None or not _waits(last) or last.id in begun:
                return self._begin(attempt, key, last, calls)
            # The snapshot of a REPEATABLE READ caller may show for ever that it waits.
            begun.add(last.id)
            return self._take_place(attempt, key.options, last.id, calls)

        return self.last_attempts.row_after(attempt, key, work)

    def _take_place(
        self, attempt: AbstractAttempt, options: DebounceOptions, waiting: UUID, calls: int
    ) -> AbstractAttempt | None:
        """Change what waits to what `attempt` promises; None when it has begun meanwhile."""
        row = copied(attempt)
        if options.adaptive:
            calls += self._calls_of(waiting)
            row.metadata = {**row.metadata, CALLS: calls}
        columns: dict[str, Any] = {}
        if options.debounce is not None:
            due = _due(options, calls)
            columns = {"scheduled_at": due, "status": status_when_due(due)}
            columns |= {"limit_key": row.limit_key, "concurrency": row.concurrency}
        elif options.throttle is not None:
            # A person may have put it off for longer than any call has to wait.
            latest = seconds_from_now(options.throttle)
            columns = {"scheduled_at": Least(F("scheduled_at"), latest)}
        return self.last_attempts.change(row, waiting, WAITS, columns)

    def _calls_of(self, waiting: UUID) -> int:
        """Lock the attempt if it waits; returns how many adaptive calls it stands for."""
        no_key = self.database.connection.features.has_select_for_no_key_update
        rows = self.database.attempts.filter(WAITS, pk=waiting).select_for_update(no_key=no_key)
        metadata = rows.values_list("metadata", flat=True).first()
        calls = metadata.get(CALLS) if isinstance(metadata, dict) else None
        return calls if type(calls) is int else 0

    def _begin(
        self, attempt: AbstractAttempt, key: SharedKey, last: Last | None, calls: int
    ) -> AbstractAttempt | None:
        """Write a new row after the last one of its key; None if another caller has done so."""
        options: Any = key.options
        row = following(attempt, key, last)
        columns = row.__dict__
        due: Expression = seconds_from_now(options.delay(calls))
        if options.throttle is not None and last is not None:
            due = Greatest(_free_at(last, options.throttle), DatabaseNow())
        columns["scheduled_at"], columns["status"] = due, status_when_due(due)
        if options.adaptive:
            columns["metadata"] = {**row.metadata, CALLS: calls}
        return row if self.insert.write_keyed(row) else None


def _waits(last: Last) -> bool:
    return last.is_yet_to_begin and not last.blockers


def _free_at(last: Last, period: float) -> Expression:
    """Return the moment at which the next one of a throttled key may begin."""
    if last.started_at is not None:
        return _moment(last.started_at + timedelta(seconds=period))
    if _waits(last) or last.num_attempts:
        # It has just begun, or its last execution was released: nobody knows when it began.
        return seconds_from_now(period)
    # It ended before it could begin, and was itself put off because of the one before it.
    return _moment(last.scheduled_at)


def _due(options: DebounceOptions, calls: int) -> Expression:
    """Return when the waiting attempt, which stands for this number of `calls`, is due."""
    due: Expression = seconds_from_now(options.delay(calls))
    if options.max_wait is None:
        return due
    latest = F("created_at") + timedelta(seconds=options.max_wait)
    return Least(due, ExpressionWrapper(latest, output_field=DateTimeField()))


def _moment(value: datetime) -> Expression:
    return Value(value, output_field=DateTimeField())
