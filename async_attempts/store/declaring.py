"""The schedules that code declares, as rows: what operators did with them stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, cast

from ..exceptions import DecryptionError, InvalidArguments
from ..models import DatabaseNow, Schedule
from ..payload import dump_arguments
from ..targets.declared import Declared
from .scheduling import Scheduling

AGAIN: Final = timedelta(seconds=50)
"""A worker's word that it declares a schedule isn't written anew before."""

FORGOTTEN: Final = timedelta(seconds=150)
"""So long after the last worker's word a schedule is declared no longer.

Not at once: while a new release is rolled out, the old one's workers declare less.
"""


class Declaring(Scheduling):
    """From code to rows."""

    def declare(self, declared: Mapping[str, Declared]) -> set[str]:
        """Let the rows say what is `declared`, by name; mark those that no worker declares.

        Returns the names that can have no row, as a collation takes them for another's.
        """
        rows = cast("Iterable[Any]", self.schedules.annotate(now=DatabaseNow()))
        known = {row.name: row for row in rows}
        refused: set[str] = set()
        if new := [one for name, one in declared.items() if name not in known]:
            now = next(iter(known.values())).now if known else self.moment()
            made = [self._row(one, now) for one in new]
            self.redone(lambda: self.schedules.bulk_create(made, ignore_conflicts=True))
            names = {one.name for one in new}
            there = self.schedules.filter(name__in=names).values_list("name", flat=True)
            refused = names.difference(there)
        again = [(known[name], one) for name, one in declared.items() if name in known]
        changes = [(row, _changes(row, one)) for row, one in again]
        for row, changed in changes:
            if changed:
                self.redone(partial(self._change_declared, row, changed))
        if same := [row.pk for row, changed in changes if not changed and _is_silent(row, AGAIN)]:
            silent = self.schedules.filter(pk__in=same, declared_at__lt=DatabaseNow() - AGAIN)
            self.redone(lambda: silent.update(declared_at=DatabaseNow()))
        others = (row for name, row in known.items() if name not in declared)
        if any(row.is_declared and _is_silent(row, FORGOTTEN) for row in others):
            over = self.schedules.filter(declared_at__lt=DatabaseNow() - FORGOTTEN)
            over = over.filter(is_declared=True).exclude(name__in=declared)
            self.redone(lambda: over.update(is_declared=False, next_tick=None))
        return refused

    def _row(self, one: Declared, now: datetime) -> Schedule:
        row = Schedule(name=one.name, **one.columns())
        row._state.db = self.alias
        row.seal(one.arguments)
        row.declared_at, row.next_tick = now, row.when.after(now)
        return row

    def _change_declared(self, row: Any, changed: dict[str, Any]) -> None:
        """Write these columns, unless somebody else has moved the next tick meanwhile."""
        unmoved = self.schedules.filter(pk=row.pk, is_paused=row.is_paused, next_tick=row.next_tick)
        unmoved.update(**changed | {"is_declared": True, "declared_at": DatabaseNow()})

    def moment(self) -> datetime:
        """The database's now."""
        sql, params = DatabaseNow().on(self.connection.vendor)
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {sql}", params)
            (now,) = cursor.fetchone()
        moment = datetime.fromisoformat(now) if isinstance(now, str) else now
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _has_arguments_of(row: Schedule, declared: Declared) -> bool:
    try:
        return row.plaintext() == dump_arguments(declared.arguments)
    except (DecryptionError, InvalidArguments):
        return False


def _changes(row: Any, one: Declared) -> dict[str, Any]:
    """The columns in which the row doesn't say what is declared; the row says so afterwards."""
    columns = one.columns()
    changed = {name: value for name, value in columns.items() if getattr(row, name) != value}
    is_new_time = not row.is_declared or not changed.keys().isdisjoint(("cron", "timezone"))
    if changed or not _has_arguments_of(row, one):
        for name, value in changed.items():
            setattr(row, name, value)
        row.seal(one.arguments)
        changed["args"] = row.args
    # What is due already is enqueued first; it may be due by the old times.
    if is_new_time and not row.is_paused and (row.next_tick or row.now) >= row.now:
        changed["next_tick"] = row.when.after(row.now)
    if not row.is_declared or row.declared_at is None:
        changed["is_declared"] = True
    return changed


def _is_silent(row: Any, age: timedelta) -> bool:
    """Whether no worker has declared it for so long; what a person made, none declares."""
    return bool(row.declared_at and row.declared_at < row.now - age)
