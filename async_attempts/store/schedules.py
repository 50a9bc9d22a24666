"""Recurring schedules: one attempt for each tick, whatever number of workers there is.

A tick is due by the database's clock. The worker that enqueues it locks the schedule's row, moves
`next_tick` by a statement that names the old one, and writes the attempt, all in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count, DurationField, ExpressionWrapper, F, Min, Q, QuerySet
from django.db.models.signals import post_save, pre_save

from ..exceptions import DecryptionError, InvalidArguments
from ..lifecycle import LIVE
from ..models import AbstractAttempt, DatabaseNow, Schedule
from ..models.saving import announce
from ..models.schedule import DEFINITION
from ..payload import dump_arguments
from ..targets.declared_schedule import DeclaredSchedule
from .attempts import Attempts
from .database import Database

ON_TIME: Final = timedelta(seconds=60)
"""The age up to which a tick is in time: it is enqueued also without catching up."""

INSTANT: Final = timedelta(microseconds=1)

NO_SHARED_KEY: Final = {"debounce": False, "throttle": False, "one_of": False}
"""A tick is an attempt of its own, whatever the target says of calls."""


class Ticked(NamedTuple):
    """The outcome of a tick: the attempt, if it wasn't skipped, or why it couldn't be enqueued."""

    schedule: str
    attempt: AbstractAttempt | None = None
    problem: Exception | None = None


class Coming(NamedTuple):
    """The ticks to come: True if any is still due, and the seconds to the next of some."""

    is_any_due: bool
    seconds: float | None


AGAIN: Final = timedelta(seconds=50)
"""A worker writes that it declares a schedule at most once in this time."""

FORGOTTEN: Final = timedelta(seconds=150)
"""A schedule that no worker has declared for this time is declared no longer.

Not at once: while a new release is rolled out, the old one's workers declare less.
"""


class Schedules:
    """Ticks of schedules, and the rows of the schedules that code declares."""

    def __init__(self, database: Database, attempts: Attempts) -> None:
        self.database = database
        self.attempts = attempts

    # --- ticks

    def _ticks_of(self, names: Collection[str]) -> Q:
        return Q(source=Schedule.Source.ADMIN) | Q(name__in=names)

    def coming_ticks(self, names: Collection[str]) -> Coming:
        """Return the ticks to come; the seconds are to the next one for `enqueue_ticks`."""
        due = Count("pk", filter=Q(next_tick__lte=DatabaseNow()))
        left = ExpressionWrapper(F("next_tick") - DatabaseNow(), output_field=DurationField())
        later = self._ticks_of(names) & Q(next_tick__gt=DatabaseNow())
        found = self.database.schedules.aggregate(due=due, left=Min(left, filter=later))
        seconds = None if found["left"] is None else found["left"].total_seconds()
        return Coming(found["due"] > 0, seconds)

    def enqueue_ticks(self, names: Collection[str]) -> list[Ticked]:
        """Enqueue what is due of the schedules that people made, and of those of these `names`.

        A tick that somebody else is enqueueing is left to them. One that can't be enqueued stays
        due, and is told.
        """
        due = self.database.schedules.filter(self._ticks_of(names), next_tick__lte=DatabaseNow())
        ticked = []
        for pk, name in list(due.order_by("next_tick", "pk").values_list("pk", "name")):
            try:
                found = self.database.in_transaction(partial(self._enqueue_tick, due, pk))
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:  # noqa: BLE001 - told, and the others are enqueued
                found = Ticked(name, problem=error)
            if found is not None:
                ticked.append(found)
        return ticked

    def _enqueue_tick(self, due: QuerySet[Schedule], pk: UUID) -> Ticked | None:
        locked = due.filter(pk=pk).select_for_update(skip_locked=True)
        row: Any = locked.annotate(now=DatabaseNow()).first()
        if row is None:
            return None
        # First: a definition that was edited past the form neither ticks nor skips.
        row.plaintext()
        tick = row.when.latest(row.next_tick - INSTANT, row.now) or row.next_tick
        is_late = row.catch_up == Schedule.CatchUp.NONE and row.now - tick > ON_TIME
        is_skipped = is_late or self._has_to_wait(row)
        moved: dict[str, Any] = {"next_tick": row.when.after(max(row.now, tick)), "last_tick": tick}
        if is_skipped:
            moved |= {"num_skipped": F("num_skipped") + 1, "last_skipped": tick}
        if not self.database.schedules.filter(pk=pk, next_tick=row.next_tick).update(**moved):
            return None
        return Ticked(row.name, None if is_skipped else self._enqueue_for(row, tick))

    def _has_to_wait(self, schedule: Schedule) -> bool:
        """Return True if no tick may be enqueued, as the last attempt is live."""
        if schedule.overlap != Schedule.Overlap.SKIP or schedule.last_attempt is None:
            return False
        return self.database.attempts.filter(pk=schedule.last_attempt, status__in=LIVE).exists()

    def _enqueue_for(self, schedule: Schedule, due: datetime | float) -> AbstractAttempt:
        """Enqueue an attempt that is `due` at this tick, or in these seconds."""
        columns: dict[str, Any] = {"schedule": schedule.name, "scheduled_at": due}
        given = {"queue": schedule.queue, "priority": schedule.priority}
        columns |= {name: value for name, value in given.items() if value is not None}
        attempt = self.database.model(target=schedule.target, **columns)
        attempt._plain = schedule.arguments
        attempt.key_options = NO_SHARED_KEY
        announce(pre_save, attempt, self.database.alias)
        found = self.attempts.insert_or_get(attempt)
        if found.created:
            announce(post_save, found, self.database.alias, created=True)
        # A live attempt that keeps ticks back is remembered until it has ended.
        if not self._has_to_wait(schedule):
            self.database.schedules.filter(pk=schedule.pk).update(last_attempt=found.pk)
        return found

    def enqueue_now(self, schedule_id: UUID) -> AbstractAttempt:
        """Enqueue an attempt beside the ticks, whatever the last one does.

        Raises Schedule.DoesNotExist, and what `insert` raises.
        """
        with transaction.atomic(self.database.alias):
            row = self.database.schedules.select_for_update().get(pk=schedule_id)
            return self._enqueue_for(row, 0)

    def pause(self, schedule_ids: Iterable[UUID]) -> int:
        """Stop their ticks from now on; returns how many weren't paused."""
        going = self.database.schedules.filter(pk__in=list(schedule_ids), is_paused=False)
        return going.update(is_paused=True, next_tick=None)

    def resume(self, schedule_ids: Iterable[UUID]) -> int:
        """Go on with the first tick after now; returns how many were paused."""
        return sum(self._resume(pk) for pk in schedule_ids)

    def _resume(self, pk: UUID) -> int:
        paused = self.database.schedules.filter(pk=pk, is_paused=True)
        with transaction.atomic(self.database.alias):
            # Locked: a new release may be changing its times.
            locked = paused.select_for_update().defer("args")
            row: Any = locked.annotate(now=DatabaseNow()).first()
            if row is None:
                return 0
            next_tick = row.when.after(row.now) if row.is_declared else None
            return paused.update(is_paused=False, next_tick=next_tick)

    def put(self, schedule: Schedule) -> None:
        """Write a schedule that a person has made or changed; new times hold from now on.

        Arguments that are left as they are get bound to the new definition. Raises Tampered if they
        weren't to the old one.
        """
        with transaction.atomic(self.database.alias):
            mine = self.database.schedules.filter(pk=schedule.pk)
            old = mine.select_for_update().first()
            if old is not None and mine.filter(args=schedule.args).exists():
                schedule.seal_plaintext(old.plaintext())
            defined = None if old is None else [*DEFINITION, "args"]
            schedule.save(using=self.database.alias, update_fields=defined)
            if old is not None and (old.is_paused or _times(old) == _times(schedule)):
                return
            row: Any = mine.defer("args").annotate(now=DatabaseNow()).get()
            schedule.next_tick = row.when.after(row.now)
            self.database.schedules.filter(pk=row.pk).update(next_tick=schedule.next_tick)

    # --- declarations

    def declare(self, declared: Mapping[str, DeclaredSchedule]) -> set[str]:
        """Write the `declared` schedules, by name, to their rows; mark those no worker declares.

        Returns the names that can have no row, as a collation takes them for another's.
        """
        rows = cast("Iterable[Any]", self.database.schedules.annotate(now=DatabaseNow()))
        known = {row.name: row for row in rows}
        refused: set[str] = set()
        if new := [one for name, one in declared.items() if name not in known]:
            now = next(iter(known.values())).now if known else self.database.now()
            made = [self._row(one, now) for one in new]
            self.database.retry_on_conflict(
                lambda: self.database.schedules.bulk_create(made, ignore_conflicts=True)
            )
            names = {one.name for one in new}
            there = self.database.schedules.filter(name__in=names).values_list("name", flat=True)
            refused = names.difference(there)
        again = [(known[name], one) for name, one in declared.items() if name in known]
        changes = [(row, _changes(row, one)) for row, one in again]
        for row, changed in changes:
            if changed:
                self.database.retry_on_conflict(partial(self._change_declared, row, changed))
        if same := [row.pk for row, changed in changes if not changed and _is_silent(row, AGAIN)]:
            silent = self.database.schedules.filter(
                pk__in=same, declared_at__lt=DatabaseNow() - AGAIN
            )
            self.database.retry_on_conflict(lambda: silent.update(declared_at=DatabaseNow()))
        others = (row for name, row in known.items() if name not in declared)
        if any(row.is_declared and _is_silent(row, FORGOTTEN) for row in others):
            over = self.database.schedules.filter(declared_at__lt=DatabaseNow() - FORGOTTEN)
            over = over.filter(is_declared=True).exclude(name__in=declared)
            self.database.retry_on_conflict(lambda: over.update(is_declared=False, next_tick=None))
        return refused

    def _row(self, one: DeclaredSchedule, now: datetime) -> Schedule:
        row = Schedule(name=one.name, **one.columns())
        row._state.db = self.database.alias
        row.seal(one.arguments)
        row.declared_at, row.next_tick = now, row.when.after(now)
        return row

    def _change_declared(self, row: Any, changed: dict[str, Any]) -> None:
        """Write these columns, unless somebody else has moved the next tick meanwhile."""
        unmoved = self.database.schedules.filter(
            pk=row.pk, is_paused=row.is_paused, next_tick=row.next_tick
        )
        unmoved.update(**changed | {"is_declared": True, "declared_at": DatabaseNow()})


def _times(schedule: Schedule) -> tuple[str, str]:
    """Return its times as written; `Schedule.when` raises for a schedule that is malformed."""
    return schedule.cron, schedule.timezone


def _has_arguments_of(row: Schedule, declared: DeclaredSchedule) -> bool:
    try:
        return row.plaintext() == dump_arguments(declared.arguments)
    except (DecryptionError, InvalidArguments):
        return False


def _changes(row: Any, one: DeclaredSchedule) -> dict[str, Any]:
    """The columns in which the row doesn't say what is declared; the row says so afterwards."""
    columns = one.columns()
    changed = {name: value for name, value in columns.items() if getattr(row, name) != value}
    is_new_time = not row.is_declared or not changed.keys().isdisjoint(("cron", "timezone"))
    if changed or not _has_arguments_of(row, one):
        for name, value in changed.items():
            setattr(row, name, value)
        row.seal(one.arguments)
        changed["args"] = row.args
    # Ticks that are due already are enqueued first; they may be due by the old times.
    if is_new_time and not row.is_paused and (row.next_tick or row.now) >= row.now:
        changed["next_tick"] = row.when.after(row.now)
    if not row.is_declared or row.declared_at is None:
        changed["is_declared"] = True
    return changed


def _is_silent(row: Any, age: timedelta) -> bool:
    """Return True if no worker has declared it for this long; no worker declares a person's."""
    return bool(row.declared_at and row.declared_at < row.now - age)
