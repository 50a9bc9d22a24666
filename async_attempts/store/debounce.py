"""Debounce and throttle: new attempts that take the place of the one that still waits.

Callers of one key go one after the other: each locks the key's `Pace` until its transaction ends.
What waits is changed by a statement that says so itself, so whoever claims it comes before, and a
new attempt is written, or after, and performs the newest arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import BooleanField, DateTimeField, Expression, ExpressionWrapper, F, Q, Value
from django.db.models.expressions import DatabaseDefault
from django.db.models.functions import Greatest, Least

from ..lifecycle import Status
from ..models import AbstractAttempt, DatabaseNow
from ..models.editing import PROMISE, STATE
from ..models.pace import Pace, Paced
from ..targets import Pacing
from .database import Database
from .dialects.base import Dialect
from .expressions import seconds_from_now, status_when_due
from .insert import Insert

HOLD: Final = """
INSERT INTO {pace} ({key}, calls, period, look_at) VALUES (%s, %s, 0, {now})
ON CONFLICT ({key}) DO UPDATE SET calls = {pace}.calls + excluded.calls
RETURNING attempt_id, calls, look_at
"""

WAITS: Final = Q(
    status__in=(Status.SCHEDULED, Status.PENDING, Status.WAITING),
    blockers=0,
    claimed_by=None,
    started_at=None,
    num_attempts=0,
)
"""Never begun, or a person lets it begin anew. What was released unbegun waits again, too, and so
does what waits for a place of its limit key: it is yet to begin, and a throttle counts from there.
What is retried by its backoff doesn't."""

KEPT: Final = (PROMISE | STATE) - {"args", "keep_result"}
"""Columns that stay as they are when another call takes the place of the one that waits."""


LOOK_AFTER: Final = 60.0
"""Seconds, from when a pace should be of no more use, until a worker looks whether it is."""


class Held(NamedTuple):
    """A pace that is locked: its last attempt, and how many calls that stands for with these."""

    attempt_id: UUID | None
    calls: int
    look_at: datetime


class Last(NamedTuple):
    """The last attempt of a key, as it was when it was looked at."""

    id: UUID
    scheduled_at: datetime
    started_at: datetime | None
    num_attempts: int
    waits: bool

    def free_at(self, period: float) -> Expression:
        """When the next one of a throttled key may begin."""
        later = timedelta(seconds=period)
        if self.started_at is not None:
            return _moment(self.started_at + later)
        if self.waits or self.num_attempts:
            # It has just begun, or its last execution was released: nobody knows when it began.
            return _from_now(period)
        # It ended before it could begin, and was itself put off because of the one before it.
        return _moment(self.scheduled_at)


class Draft:
    """A prepared new row and what it began as: when writing it is undone, it is that again."""

    def __init__(self, attempt: AbstractAttempt, paced: Paced) -> None:
        self.attempt = attempt
        self.key, self.pacing = paced
        self._columns = attempt.__dict__.copy()

    def restore(self) -> None:
        row = self.attempt.__dict__
        row.clear()
        row.update(self._columns)
        self.attempt._state.adding = True


LOOK_AGAIN: Final = 3600.0


class Debounce:
    """From nothing to pending or scheduled, or into the attempt of its key that still waits."""

    def __init__(self, database: Database, dialect: Dialect, insert: Insert) -> None:
        self.database = database
        self.dialect = dialect
        self.insert = insert

    @property
    def paces(self) -> Any:
        return Pace._base_manager.using(self.database.alias)

    def write(self, draft: Draft, calls: int = 1) -> AbstractAttempt:
        """Write a paced attempt that stands for so many calls, or change the one that waits.

        Its row is that one then, `created` False. Waits for another transaction that has called
        the same key and hasn't ended.
        """

        def work() -> None:
            draft.restore()
            with self._in_transaction():
                self._coalesce_within(draft, calls)

        try:
            self.database.retry_on_conflict(work)
        except BaseException:
            draft.restore()
            raise
        return draft.attempt

    def write_each(self, drafts: Iterable[Draft]) -> dict[UUID, AbstractAttempt]:
        """As `_coalesce`, in the order of their keys; of each key the last one counts.

        Returns the rows by the ids of the drafts. Within a transaction that is open.
        """
        groups: dict[bytes, list[Draft]] = {}
        for draft in drafts:
            groups.setdefault(draft.key, []).append(draft)
        found: dict[UUID, AbstractAttempt] = {}
        for _, group in sorted(groups.items()):
            for draft in group:
                draft.restore()
            ids = [draft.attempt.pk for draft in group]
            self._coalesce_within(group[-1], len(group))
            found |= dict.fromkeys(ids, group[-1].attempt)
        return found

    def _in_transaction(self) -> AbstractContextManager[Any]:
        """The caller's, without a savepoint; else one of its own."""
        is_open = self.database.connection.in_atomic_block
        return nullcontext() if is_open else transaction.atomic(self.database.alias)

    def _coalesce_within(self, draft: Draft, calls: int) -> None:
        held = self._hold_pace(draft.key, calls)
        if held.attempt_id is None:
            self._begin_anew(draft, _moment(held.look_at), calls)
            return
        period = draft.pacing.throttle or 0.0
        # Twice: it may begin between the look and the change. Not for ever: the snapshot of a
        # REPEATABLE READ caller never shows it.
        for _ in range(2):
            last = self._look(held.attempt_id)
            if last is None or not last.waits:
                break
            if self._take_place(draft, last.id, held.calls):
                return
        # Of one that is gone nobody knows when it began: it may have been just now.
        free_at = seconds_from_now(period) if last is None else last.free_at(period)
        self._begin_anew(draft, free_at, calls)

    def _hold_pace(self, key: bytes, calls: int) -> Held:
        """Lock the key until the transaction ends."""
        now, params = DatabaseNow().on(self.database.connection.vendor)
        with self.database.connection.cursor() as cursor:
            cursor.execute(
                HOLD.format(
                    now=now,
                    pace=self.database.table(Pace),
                    key=self.database.connection.ops.quote_name("key"),
                ),
                [key, calls, *params],
            )
            attempt_id, total, look_at = cursor.fetchone()
        if look_at.tzinfo is None:
            # SQLite's driver knows the type, but not the zone.
            look_at = look_at.replace(tzinfo=UTC)
        return Held(None if attempt_id is None else UUID(str(attempt_id)), total, look_at)

    def _look(self, attempt_id: UUID) -> Last | None:
        """Reads without a lock: an open transaction must hold up nothing that has begun."""
        waits = ExpressionWrapper(WAITS, output_field=BooleanField())
        rows = self.database.attempts.filter(pk=attempt_id).annotate(waits=waits)
        row = rows.values_list(*Last._fields).first()
        return None if row is None else Last._make(row)

    def _take_place(self, draft: Draft, last_id: UUID, calls: int) -> bool:
        """Change what waits to what the draft promises; False when it has begun meanwhile."""
        attempt = draft.attempt
        attempt.take_place_of(last_id)
        columns = {f.name: f.pre_save(attempt, add=False) for f in self._replaced}
        columns = {n: v for n, v in columns.items() if not isinstance(v, DatabaseDefault)}
        if draft.pacing.debounce is not None:
            due = _due(draft.pacing, calls)
            columns |= {"scheduled_at": due, "status": status_when_due(due)}
        elif draft.pacing.throttle is not None:
            # A person may have put it off for longer than any call has to wait.
            latest = seconds_from_now(draft.pacing.throttle)
            columns["scheduled_at"] = Least(F("scheduled_at"), latest)
        if not self.database.attempts.filter(WAITS, pk=last_id).update(**columns):
            draft.restore()
            return False
        self.database.notify_due()
        attempt._state.adding = False
        attempt.refresh_from_db()
        attempt.created = False
        return True

    def _begin_anew(self, draft: Draft, free_at: Expression, calls: int) -> None:
        """Write the row, and that it is now the last one of its key.

        `free_at`: the moment before which a throttled one may not begin.
        """
        attempt, pacing = draft.attempt, draft.pacing
        period, delay = pacing.throttle or 0.0, pacing.delay(calls)
        due = Greatest(free_at, DatabaseNow()) if period else seconds_from_now(delay)
        row = attempt.__dict__
        row["scheduled_at"], row["status"] = due, status_when_due(due)
        attempt.take_place_of(attempt.pk)
        look_at = seconds_from_now(delay + 2 * period + LOOK_AFTER)
        self.paces.filter(pk=draft.key).update(
            attempt_id=attempt.pk, calls=calls, period=period, look_at=look_at
        )
        self.insert.write([attempt])

    @cached_property
    def _replaced(self) -> Sequence[Any]:
        """The fields that a call decides: all but what tells one row from another, and its state.

        A column that a project added is among them, but for the moment at which a row was added.
        """
        return [
            field
            for field in self.database.model._meta.concrete_fields
            if not field.generated
            and field.attname not in KEPT
            and not getattr(field, "auto_now_add", False)
        ]

    def forget_paces(self, limit: int = 500) -> int:
        """Look at the paces whose time to do so has come; returns how many were forgotten.

        One is kept while its last attempt waits, and until its period after that one's begin. Of
        one that is gone it is only known that it began before this look. What a caller has locked
        is left for the next time.
        """
        due = self.paces.filter(look_at__lte=DatabaseNow()).order_by("look_at")
        if not due.exists():
            return 0

        def work() -> int:
            locked = due.select_for_update(skip_locked=True).annotate(now=DatabaseNow())
            paces = list(locked[:limit])
            rows = self.database.attempts.filter(
                pk__in=[p.attempt_id for p in paces if p.attempt_id]
            )
            waiting = set(rows.filter(WAITS).values_list("pk", flat=True))
            last = dict(rows.values_list("pk", "started_at"))
            over: list[bytes] = []
            for pace in paces:
                if pace.attempt_id is None or _is_free(pace, last, waiting):
                    over.append(pace.pk)
                else:
                    self._look_later(pace, is_gone=pace.attempt_id not in last)
            self.dialect.delete(Pace, over)
            return len(over)

        return self.database.in_transaction(work)

    def _look_later(self, pace: Any, *, is_gone: bool) -> None:
        mine = self.paces.filter(pk=pace.pk)
        if is_gone:
            # From now on the next one may begin after a period.
            mine.update(attempt_id=None, calls=0, look_at=seconds_from_now(pace.period))
        else:
            mine.update(look_at=seconds_from_now(LOOK_AGAIN))


def _due(pacing: Pacing, calls: int) -> Expression:
    """When the attempt that waits, which stands for so many calls, is due after the last one."""
    due: Expression = seconds_from_now(pacing.delay(calls))
    if pacing.max_wait is None:
        return due
    latest = F("created_at") + timedelta(seconds=pacing.max_wait)
    return Least(due, ExpressionWrapper(latest, output_field=DateTimeField()))


def _moment(value: datetime) -> Expression:
    return Value(value, output_field=DateTimeField())


def _from_now(seconds: float) -> Expression:
    moment: Expression = seconds_from_now(seconds)
    return moment


def _is_free(pace: Any, last: dict[UUID, datetime | None], waiting: set[UUID]) -> bool:
    """Whether the next one may begin at any time."""
    if pace.attempt_id in waiting:
        return False
    if not pace.period:
        return True
    began = last.get(pace.attempt_id)
    return began is not None and began + timedelta(seconds=pace.period + LOOK_AFTER) < pace.now
