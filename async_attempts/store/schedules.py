"""Recurring schedules: one attempt for each tick, whatever number of workers there is.

A tick is due by the database's clock. The worker that enqueues it locks the schedule's row, moves
`next_tick` by a statement that names the old one, and writes the attempt, all in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count, DurationField, ExpressionWrapper, F, Min, Q, QuerySet
from django.db.models.signals import post_save, pre_save

from ..exceptions import InvalidOption, WrongTransaction
from ..instances import is_there
from ..lifecycle import LIVE
from ..models import AbstractAttempt, DatabaseNow, Schedule
from ..models.saving import announce
from ..models.schedule import WRITTEN
from ..models.schedule_checks import check_changed, check_new
from ..targets.declared_schedule import DeclaredSchedule
from ..targets.schedule_options import NEXT_TICK, read_options
from .attempts import Attempts
from .database import Database
from .declared_schedules import DeclaredSchedules
from .transactions import wrong_transaction

ON_TIME: Final = timedelta(seconds=60)
"""The age up to which a tick is in time: it is enqueued also without catching up."""

INSTANT: Final = timedelta(microseconds=1)

NO_SHARED_KEY: Final = {"debounce": False, "throttle": False, "one_of": False}
"""A tick is an attempt of its own, whatever the target says of calls."""


MOST_ENQUEUED: Final = 200
"""The ticks that one call enqueues; the worker claims before it enqueues the next ones."""

EVERY_WORKERS: Final = (Schedule.Source.ADMIN, Schedule.Source.MADE)
"""The sources of the schedules that any worker enqueues, whatever its code declares."""


class Ticked(NamedTuple):
    """The outcome of a tick: the attempt, if it wasn't skipped, or why it couldn't be enqueued.

    `gone`: the subject that doesn't exist any more, for which the schedule was deleted.
    """

    schedule: str
    attempt: AbstractAttempt | None = None
    problem: Exception | None = None
    gone: str | None = None


class Coming(NamedTuple):
    """The ticks to come: True if any is still due, and the seconds to the next of some."""

    is_any_due: bool
    seconds: float | None


class Schedules:
    """Ticks of schedules, and the rows of the schedules that code declares."""

    def __init__(self, database: Database, attempts: Attempts) -> None:
        self.database = database
        self.attempts = attempts
        self.declared = DeclaredSchedules(database)

    def declare(self, declared: Mapping[str, DeclaredSchedule]) -> set[str]:
        """Write the declared schedules to their rows; see `DeclaredSchedules.declare`."""
        return self.declared.declare(declared)

    # --- ticks

    def _ticks_of(self, names: Collection[str]) -> Q:
        return Q(source__in=EVERY_WORKERS) | Q(name__in=names)

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

        At most `MOST_ENQUEUED` at once. A tick that somebody else is enqueueing is left to them.
        One that can't be enqueued stays due, and is told.
        """
        due = self.database.schedules.filter(self._ticks_of(names), next_tick__lte=DatabaseNow())
        ticked: list[Ticked] = []
        num_done = 0
        for pk, name in list(due.order_by("next_tick", "pk").values_list("pk", "name")):
            if num_done >= MOST_ENQUEUED:
                break
            try:
                found = self.database.in_transaction(partial(self._enqueue_tick, due, pk))
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:  # noqa: BLE001 - told, and the others are enqueued
                found = Ticked(name, problem=error)
            if found is not None:
                ticked.append(found)
                # Those that can't be enqueued stay due, and keep no others back.
                num_done += found.problem is None
        return ticked

    def _enqueue_tick(self, due: QuerySet[Schedule], pk: UUID) -> Ticked | None:
        locked = due.filter(pk=pk).select_for_update(skip_locked=True)
        row: Any = locked.annotate(now=DatabaseNow()).first()
        if row is None:
            return None
        # First: a definition that was edited past the form neither ticks nor skips.
        row.plaintext()
        if (gone := _gone_subject(row)) is not None:
            self.database.schedules.filter(pk=pk).delete()
            return Ticked(row.name, gone=gone)
        until = row.now if row.until is None else min(row.now, row.until)
        tick = row.when.latest(row.next_tick - INSTANT, until) or row.next_tick
        is_late = row.catch_up == Schedule.CatchUp.NONE and row.now - tick > ON_TIME
        is_skipped = is_late or self._has_to_wait(row)
        from_here = max(row.now, tick)
        moved: dict[str, Any] = {"next_tick": row.tick_after(from_here), "last_tick": tick}
        if is_skipped:
            moved |= {"num_skipped": F("num_skipped") + 1, "last_skipped": tick}
        if not self.database.schedules.filter(pk=pk, next_tick=row.next_tick).update(**moved):
            return None
        return Ticked(row.name, None if is_skipped else self._enqueue_for(row, tick, from_here))

    def _has_to_wait(self, schedule: Schedule) -> bool:
        """Return True if no tick may be enqueued, as the last attempt is live."""
        if schedule.overlap != Schedule.Overlap.SKIP or schedule.last_attempt is None:
            return False
        return self.database.attempts.filter(pk=schedule.last_attempt, status__in=LIVE).exists()

    def _enqueue_for(
        self, schedule: Schedule, due: datetime | float, now: datetime
    ) -> AbstractAttempt:
        """Enqueue an attempt that is `due` at this tick, or in these seconds."""
        columns: dict[str, Any] = {"schedule": schedule.name, "scheduled_at": due}
        given = read_options(schedule.attempt_options)
        if (expires := given.pop("expires", None)) is not None:
            given["expires_at"] = schedule.when.after(now) if expires == NEXT_TICK else expires
        given |= {"queue": schedule.queue, "priority": schedule.priority}
        given |= {"subject_type": schedule.subject_type, "subject_id": schedule.subject_id}
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
            locked = self.database.schedules.select_for_update()
            row: Any = locked.annotate(now=DatabaseNow()).get(pk=schedule_id)
            return self._enqueue_for(row, 0, row.now)

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
            next_tick = row.tick_after(row.now) if row.is_declared else None
            return paused.update(is_paused=False, next_tick=next_tick)

    # --- schedules that people and code make

    def prepare(self, new: Sequence[Any]) -> None:
        """Check and seal new schedules that code makes, and set their first ticks.

        Raises InvalidOption, InvalidTarget, InvalidArguments, WrongTransaction.
        """
        self._refuse_wrong_transaction()
        now = self.database.now() if new else None
        for schedule in new:
            schedule._state.db = self.database.alias
            schedule.source = Schedule.Source.MADE
            arguments = check_new(schedule)
            schedule.next_tick = None if schedule.is_paused else schedule.tick_after(now)
            if schedule.next_tick is None and not schedule.is_paused:
                raise InvalidOption(f"until: {schedule.until} is before the first tick.")
            schedule.seal(arguments)

    def save(self, schedule: Any, names: Collection[str] | None = None) -> None:
        """Write a schedule that code has made or changed: all of it, or the columns `names`.

        Raises as `prepare`, and what `Schedule.plaintext` raises.
        """
        if schedule._state.adding:
            self.prepare([schedule])
            schedule.write(self.database.alias, None)
            schedule.forget_arguments()
            return
        self._refuse_wrong_transaction()
        schedule._state.db = self.database.alias
        self._change(schedule, names, is_checked=True)

    def _refuse_wrong_transaction(self) -> None:
        if wrong_transaction(self.database.alias) is not None:
            raise WrongTransaction(
                f"The schedule is a row of {self.database.alias!r}, and the open transaction is on "
                "another database: it would be written even if that rolls back. Open one on its "
                "own database, or name another one: Schedule.objects.using(…)."
            )

    def put(self, schedule: Schedule) -> None:
        """Write a schedule that a person has made or changed; new times hold from now on.

        Arguments that are left as they are get bound to the new definition. Raises Tampered if they
        weren't to the old one.
        """
        with transaction.atomic(self.database.alias):
            if not self.database.schedules.filter(pk=schedule.pk).exists():
                schedule.next_tick = schedule.tick_after(self.database.now())
                schedule.write(self.database.alias, None)
                return
            self._change(schedule, None, is_checked=False)

    def _change(
        self, schedule: Schedule, names: Collection[str] | None, *, is_checked: bool
    ) -> None:
        with transaction.atomic(self.database.alias):
            mine = self.database.schedules.filter(pk=schedule.pk)
            # Locked: a tick of it is enqueued first, and by the old definition.
            old: Any = mine.select_for_update().first()
            if old is None:
                raise InvalidOption(f"{schedule}: it was deleted; create another one.")
            for name in set(WRITTEN).difference(WRITTEN if names is None else names):
                setattr(schedule, name, getattr(old, name))
            columns = [*WRITTEN, "args"]
            if is_checked:
                if not check_changed(schedule, old):
                    columns.remove("args")
            elif mine.filter(args=schedule.args).exists():
                schedule.seal_plaintext(old.plaintext())
            schedule.write(self.database.alias, columns)
            schedule.forget_arguments()
            if old.is_paused or _times(old) == _times(schedule):
                return
            row: Any = mine.defer("args").annotate(now=DatabaseNow()).get()
            schedule.next_tick = row.tick_after(row.now)
            mine.update(next_tick=schedule.next_tick)


def _times(schedule: Schedule) -> tuple[Any, ...]:
    """Return its times as written; `Schedule.when` raises for a schedule that is malformed."""
    return schedule.cron, schedule.every, schedule.timezone, schedule.until


def _gone_subject(schedule: Schedule) -> str | None:
    """Return the name of the subject, if there is no such row any more.

    Raises InvalidOption if this process doesn't have its model, as before a deploy.
    """
    label, pk = schedule.subject_type, schedule.subject_id
    if label is None or pk is None:
        return None
    return None if is_there(label, pk, schedule._state.db) else f"{label} {pk}"
