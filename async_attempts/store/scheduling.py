"""Recurring schedules: one attempt for each tick, whatever number of workers there is.

A tick is due by the database's clock. Who enqueues it locks the schedule's row, moves `next_tick`
by a statement that names the old one, and writes the attempt under a unique key of schedule and
tick, all in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Count, DurationField, ExpressionWrapper, F, Min, Q, QuerySet
from django.db.models.signals import post_save, pre_save

from ..lifecycle import LIVE
from ..models import AbstractAttempt, DatabaseNow, Schedule
from ..models.editing import announce
from ..models.schedule import DEFINITION
from .inserting import Inserting

ON_TIME: Final = timedelta(seconds=60)
"""Who isn't to catch up still enqueues a tick that is no older."""

INSTANT: Final = timedelta(microseconds=1)


UNPACED: Final = {"debounce": False, "throttle": False}
"""A tick is an attempt of its own, whatever the target says of calls."""


class Ticked(NamedTuple):
    """What came of a tick: the attempt, if it wasn't skipped, or why it couldn't be enqueued."""

    schedule: str
    attempt: AbstractAttempt | None = None
    problem: Exception | None = None


class Coming(NamedTuple):
    """What of the ticks is to come: whether any is due still, and seconds to the next of some."""

    is_any_due: bool
    seconds: float | None


class Scheduling(Inserting):
    """From the clock to an attempt."""

    @property
    def schedules(self) -> QuerySet[Schedule]:
        return Schedule._base_manager.using(self.alias)

    def _ticks_of(self, names: Collection[str]) -> Q:
        return Q(source=Schedule.Source.ADMIN) | Q(name__in=names)

    def coming_ticks(self, names: Collection[str]) -> Coming:
        """Whether any tick is due still, and when the next one of those of `enqueue_ticks` is."""
        due = Count("pk", filter=Q(next_tick__lte=DatabaseNow()))
        left = ExpressionWrapper(F("next_tick") - DatabaseNow(), output_field=DurationField())
        later = self._ticks_of(names) & Q(next_tick__gt=DatabaseNow())
        found = self.schedules.aggregate(due=due, left=Min(left, filter=later))
        seconds = None if found["left"] is None else found["left"].total_seconds()
        return Coming(found["due"] > 0, seconds)

    def enqueue_ticks(self, names: Collection[str]) -> list[Ticked]:
        """Enqueue what is due of the schedules that people made, and of those of these `names`.

        A tick that somebody else is enqueueing is left to them. One that can't be enqueued stays
        due, and is told.
        """
        due = self.schedules.filter(self._ticks_of(names), next_tick__lte=DatabaseNow())
        ticked = []
        for pk, name in list(due.order_by("next_tick", "pk").values_list("pk", "name")):
            try:
                found = self.whole(partial(self._enqueue_tick, due, pk))
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
        is_skipped = self._is_to_be_skipped(row, tick)
        moved: dict[str, Any] = {"next_tick": row.when.after(max(row.now, tick)), "last_tick": tick}
        if is_skipped:
            moved |= {"num_skipped": F("num_skipped") + 1, "last_skipped": tick}
        if not self.schedules.filter(pk=pk, next_tick=row.next_tick).update(**moved):
            return None
        return Ticked(row.name, None if is_skipped else self._enqueue_for(row, tick))

    def _is_to_be_skipped(self, row: Any, tick: datetime) -> bool:
        if row.catch_up == Schedule.CatchUp.NONE and row.now - tick > ON_TIME:
            return True
        return self._has_to_wait(row)

    def _has_to_wait(self, schedule: Schedule) -> bool:
        """Whether no tick may be enqueued, as the last attempt lives."""
        if schedule.overlap != Schedule.Overlap.SKIP or schedule.last_attempt is None:
            return False
        return self.attempts.filter(pk=schedule.last_attempt, status__in=LIVE).exists()

    def _enqueue_for(self, schedule: Schedule, due: datetime | float) -> AbstractAttempt:
        """Enqueue an attempt that is due at this tick, or so many seconds from now."""
        columns: dict[str, Any] = {"schedule": schedule.name, "scheduled_at": due}
        given = {"queue": schedule.queue, "priority": schedule.priority}
        columns |= {name: value for name, value in given.items() if value is not None}
        attempt = self.model(target=schedule.target, **columns)
        attempt._plain = schedule.arguments
        attempt.pacing = UNPACED
        announce(pre_save, attempt, self.alias)
        found = self.insert_or_get(attempt)
        if found.created:
            announce(post_save, found, self.alias, created=True)
        # What lives, and is to keep ticks back, is kept in mind until it has ended.
        if not self._has_to_wait(schedule):
            self.schedules.filter(pk=schedule.pk).update(last_attempt=found.pk)
        return found

    def enqueue_now(self, schedule_id: UUID) -> AbstractAttempt:
        """Enqueue an attempt beside the ticks, whatever the last one does.

        Raises Schedule.DoesNotExist, and what `insert` raises.
        """
        with transaction.atomic(self.alias):
            row = self.schedules.select_for_update().get(pk=schedule_id)
            return self._enqueue_for(row, 0)

    def pause(self, schedule_ids: Iterable[UUID]) -> int:
        """From now on none of their ticks is due; returns how many weren't paused."""
        going = self.schedules.filter(pk__in=list(schedule_ids), is_paused=False)
        return going.update(is_paused=True, next_tick=None)

    def resume(self, schedule_ids: Iterable[UUID]) -> int:
        """Go on with the first tick after now; returns how many were paused."""
        return sum(self._resume(pk) for pk in schedule_ids)

    def _resume(self, pk: UUID) -> int:
        paused = self.schedules.filter(pk=pk, is_paused=True)
        with transaction.atomic(self.alias):
            # Locked: a new release may be changing its times.
            locked = paused.select_for_update().defer("args")
            row: Any = locked.annotate(now=DatabaseNow()).first()
            if row is None:
                return 0
            next_tick = row.when.after(row.now) if row.is_declared else None
            return paused.update(is_paused=False, next_tick=next_tick)

    def put(self, schedule: Schedule) -> None:
        """Write a schedule that a person has made or defined anew; new times hold from now on.

        Arguments that are left as they are get bound to the new definition. Raises Tampered if they
        weren't to the old one.
        """
        with transaction.atomic(self.alias):
            mine = self.schedules.filter(pk=schedule.pk)
            old = mine.select_for_update().first()
            if old is not None and mine.filter(args=schedule.args).exists():
                schedule.seal_plaintext(old.plaintext())
            defined = None if old is None else [*DEFINITION, "args"]
            schedule.save(using=self.alias, update_fields=defined)
            if old is not None and (old.is_paused or _times(old) == _times(schedule)):
                return
            row: Any = mine.defer("args").annotate(now=DatabaseNow()).get()
            schedule.next_tick = row.when.after(row.now)
            self.schedules.filter(pk=row.pk).update(next_tick=schedule.next_tick)


def _times(schedule: Schedule) -> tuple[str, str]:
    """What says when it ticks; not as `Schedule.when`, which what is to be mended may not have."""
    return schedule.cron, schedule.timezone
