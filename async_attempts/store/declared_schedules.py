"""The rows of the schedules that code and settings declare, and operators' times for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, cast

from django.db import transaction
from django.db.models import Q

from ..exceptions import DecryptionError, InvalidArguments, InvalidOption, Tampered
from ..models import DatabaseNow, Schedule
from ..models.schedule import times_text
from ..payload import dump_arguments
from ..printable import printable
from ..targets.declared_schedule import DeclaredSchedule, Times
from .database import Database

AGAIN: Final = timedelta(seconds=50)
"""A worker writes that it declares a schedule at most once in this time."""

FORGOTTEN: Final = timedelta(seconds=150)
"""A schedule that no worker has declared for this time is declared no longer.

Not at once: while a new release is rolled out, the old one's workers declare less.
"""

MADE: Final = Schedule.Source.MADE

FOR_NO_ROW: Final[Mapping[str, Any]] = {"until": None, "subject_type": None, "subject_id": None}
"""The columns that only schedules for rows have."""

UNMOVED: Final = ("is_paused", "next_tick", "cron", "every", "code_says")
"""The columns that tell that nobody has moved the ticks of a row since it was read."""

logger = logging.getLogger("async_attempts")


class DeclaredSchedules:
    """Writes what is declared to the rows, and leaves alone what code has made for rows."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def declare(self, declared: Mapping[str, DeclaredSchedule]) -> set[str]:
        """Write the `declared` schedules, by name, to their rows; mark those no worker declares.

        Returns the names that can have no row: code has made a schedule of that name for a row, or
        a collation takes it for another's.
        """
        # Of the ones that are made for rows there may be many.
        ours = self.database.schedules.filter(~Q(source=MADE) | Q(name__in=declared))
        rows = cast("Iterable[Any]", ours.annotate(now=DatabaseNow()))
        known = {row.name: row for row in rows}
        refused = {name for name, row in known.items() if row.source == MADE}
        if new := [one for name, one in declared.items() if name not in known]:
            now = next(iter(known.values())).now if known else self.database.now()
            made = [self._row(one, now) for one in new]
            self.database.retry_on_conflict(
                lambda: self.database.schedules.bulk_create(made, ignore_conflicts=True)
            )
            names = {one.name for one in new}
            there = self.database.schedules.filter(name__in=names).values_list("name", flat=True)
            refused |= names.difference(there)
        again = [(known[name], one) for name, one in declared.items() if name in known]
        changes = []
        for row, one in again:
            if row.source == MADE:
                continue
            before = {column: getattr(row, column) for column in UNMOVED}
            changed = _changes(row, one)
            changes.append((row, changed))
            if changed:
                change = partial(self._change_declared, row, before, changed)
                self.database.retry_on_conflict(change)
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

    def _change_declared(
        self, row: Any, before: Mapping[str, Any], changed: dict[str, Any]
    ) -> None:
        """Write these columns, unless somebody else has moved its ticks meanwhile."""
        mine = self.database.schedules.filter(pk=row.pk)
        with transaction.atomic(self.database.alias):
            # By its key alone: MariaDB's UPDATE may go by the index of next ticks, and lock that
            # before the row, while a person's statement locks the row first.
            mine.select_for_update().values_list("pk").first()
            unmoved = mine.filter(**before)
            unmoved.update(**changed | {"is_declared": True, "declared_at": DatabaseNow()})

    # --- an operator's times

    def override(self, one: DeclaredSchedule, times: Times) -> None:
        """Give a declared schedule other times than its code does. Raises InvalidOption."""
        cron, every = times
        own = replace(one, cron=cron or None, every=every)
        self._put_times(own, times_text(*one.times))

    def back_to_code(self, one: DeclaredSchedule) -> None:
        """Give it the times that its code says. Raises InvalidOption."""
        self._put_times(one, None)

    def _put_times(self, one: DeclaredSchedule, code_says: str | None) -> None:
        """Write the declaration, sealed anew: nothing that the table holds has to be trusted."""
        with transaction.atomic(self.database.alias):
            mine = self.database.schedules.filter(name=one.name)
            declared = mine.exclude(source__in=(MADE, Schedule.Source.ADMIN))
            locked = declared.select_for_update().defer("args").annotate(now=DatabaseNow())
            row: Any = locked.first()
            if row is None:
                raise InvalidOption(
                    f"name: no worker has declared {one.name!r} yet; start one, or call "
                    "`attempts schedules`."
                )
            columns = {**one.columns(), **FOR_NO_ROW, "code_says": code_says}
            changed = _assigned(row, columns)
            row.seal(one.arguments)
            if row.is_declared and _have_new_times(changed) and _may_move(row):
                changed["next_tick"] = row.when.after(row.now)
            self.database.schedules.filter(pk=row.pk).update(**changed, args=row.args)


def _has_arguments_of(row: Schedule, declared: DeclaredSchedule) -> bool:
    try:
        return row.plaintext() == dump_arguments(declared.arguments)
    except (DecryptionError, InvalidArguments):
        return False


def _changes(row: Any, one: DeclaredSchedule) -> dict[str, Any]:
    """The columns in which the row doesn't say what is declared; the row says so afterwards."""
    columns = {**one.columns(), **FOR_NO_ROW}
    if row.code_says is not None:
        try:
            columns |= _operators_times(row, one)
        except DecryptionError as error:
            logger.warning("schedule %s: left as it is: %s", printable(row.name), error)
            return {}
    is_same = all(getattr(row, name) == value for name, value in columns.items())
    is_sealed = is_same and _has_arguments_of(row, one)
    changed = _assigned(row, columns)
    if not is_sealed:
        row.seal(one.arguments)
        changed["args"] = row.args
    if (not row.is_declared or _have_new_times(changed)) and _may_move(row):
        changed["next_tick"] = row.when.after(row.now)
    if not row.is_declared or row.declared_at is None:
        changed["is_declared"] = True
    return changed


def _assigned(row: Any, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Set these columns of a row; return the ones that were different."""
    changed = {name: value for name, value in columns.items() if getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    return changed


def _operators_times(row: Any, one: DeclaredSchedule) -> dict[str, Any]:
    """The columns of an operator's times, which replace those that code says.

    Only what a process with the keys has sealed is an operator's: without it code's times hold.
    Raises DecryptionError if another process can tell.
    """
    try:
        row.plaintext()
    except (Tampered, InvalidArguments):
        name = printable(row.name)
        logger.error("schedule %s: its times were edited past the form: back to code's", name)
        return {"code_says": None}
    return {"cron": row.cron, "every": row.every, "code_says": times_text(*one.times)}


def _have_new_times(changed: Iterable[str]) -> bool:
    return not {"cron", "every", "timezone"}.isdisjoint(changed)


def _may_move(row: Any) -> bool:
    """Return True unless a tick is due: it is enqueued first, and may be due by the old times."""
    return not row.is_paused and (row.next_tick or row.now) >= row.now


def _is_silent(row: Any, age: timedelta) -> bool:
    """Return True if no worker has declared it for this long; no worker declares a person's."""
    return bool(row.declared_at and row.declared_at < row.now - age)
