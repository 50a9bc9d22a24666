"""The statements that write new attempts, and what is known of a row that was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Final, TypeVar

from ..lifecycle import Status
from ..models import AbstractAttempt, AttemptQuerySet
from ..models.clock import NOW
from ..models.saving import remember
from ..signals import enqueued
from .columns import MOST, Columns, Places
from .database import Database
from .notifications import gate_of

_T = TypeVar("_T")

RETURNED: Final = ("id", "status", "scheduled_at", "expires_at", "created_at")
DECIDED: Final = RETURNED[1:]
UNKNOWN: Final = ("scheduled_at", "created_at")
"""The ones of them that aren't known of a row that is due now."""
PENDING: Final = Status.PENDING.value


class Insert:
    """One INSERT for one attempt or many, already prepared."""

    def __init__(self, database: Database) -> None:
        self.database = database

    unique_conflict = " ON CONFLICT ({key}) WHERE {key} IS NOT NULL DO NOTHING"

    def write(self, attempts: Sequence[AbstractAttempt]) -> int:
        """Write prepared attempts in one statement, but for taken tokens; returns how many."""
        keyed = any(attempt.unique_key is not None for attempt in attempts)
        returned = self._returned(attempts, keyed)
        sql, params = self.statement(attempts, keyed, returned)
        with self.database.connection.cursor() as cursor:
            cursor.execute(sql, params)
            if returned:
                return self._written(attempts, list(map(self._read, cursor.fetchall())))
            return self._written(attempts, None) if cursor.rowcount else 0

    def _returned(self, attempts: Sequence[AbstractAttempt], keyed: bool) -> Sequence[str]:
        """Return the columns that are read back: none where the row is known without it."""
        if not self._returns:
            return ()
        if any(attempt.loads_defaults or _is_open(attempt) for attempt in attempts):
            return RETURNED
        return RETURNED[:1] if keyed and len(attempts) > 1 else ()

    def statement(
        self, attempts: Sequence[AbstractAttempt], keyed: bool, returned: Sequence[str]
    ) -> tuple[str, list[Any]]:
        """Return the statement that writes these rows, and its parameters.

        `keyed`: True if one has a unique key. `returned`: the columns that are read back.
        """
        columns = self.columns
        if len(attempts) == 1:
            places, params = columns.places_of(columns.values_of(attempts[0]))
            key = (places, keyed, returned, gate_of(self.database.alias))
            if (sql := self._kept.get(key)) is None:
                if len(self._kept) >= MOST:
                    self._kept.clear()
                sql = self._kept[key] = self._values([places], keyed, returned)
            return sql, params
        rows, params = [], []
        for attempt in attempts:
            places, given = columns.places_of(columns.values_of(attempt))
            rows.append(places)
            params += given
        return self._values(rows, keyed, returned), params

    def _values(self, rows: Sequence[Places], keyed: bool, returned: Sequence[str]) -> str:
        varying = {number for places in rows for number, _ in places}
        usual = {
            number: column.literal
            for number, column in enumerate(self.columns.all)
            if number in varying or column.literal != "NULL"
        }
        names = [self.columns.all[number].name for number in usual]
        values = ", ".join(f"({', '.join({**usual, **dict(places)}.values())})" for places in rows)
        return self._insert(names, f"VALUES {values}", keyed, returned, len(rows))

    def _insert(
        self, names: Iterable[str], source: str, keyed: bool, returned: Sequence[str], rows: int
    ) -> str:
        conflict = (
            self.unique_conflict.format(key=self.database.quoted("unique_key")) if keyed else ""
        )
        into = f"INSERT INTO {self.columns.table} ({', '.join(names)})"
        return f"{into} {source}{conflict}{self.returning(returned, rows)}"

    def returning(self, names: Sequence[str], rows: int) -> str:
        """Return the end of an INSERT of `rows` rows: it passes the gate, if there is one."""
        results = [self.database.quoted(name) for name in names]
        if gate := gate_of(self.database.alias):
            # In a subquery it is evaluated once, however many rows there are.
            results.append(gate if rows == 1 else f"(SELECT {gate})")
        return f" RETURNING {', '.join(results)}" if results else ""

    def with_key(self, key: bytes | None) -> AbstractAttempt | None:
        """Return the row that has this unique key."""
        return self.database.attempts.filter(unique_key=key).first()

    def write_keyed(self, row: AbstractAttempt) -> bool:
        """Write a row; False if its key is taken. Waits for a caller that may have taken it."""
        return self.write([row]) == 1

    def rows_between(self, first: bytes, last: bytes, look: int) -> AttemptQuerySet[Any]:
        """Return the attempts with unique keys in this range, the last one first.

        `look`: the number of looks at it before this one.
        """
        rows = self.database.attempts.filter(unique_key__gte=first, unique_key__lte=last)
        return rows.order_by("-unique_key")

    def retry_for_tokens(self, work: Callable[[], _T]) -> _T:
        """Do as `retry_on_conflict`, for many that may wait for callers of the same tokens."""
        return self.database.retry_on_conflict(work)

    def _written(
        self, attempts: Sequence[AbstractAttempt], rows: Sequence[Sequence[Any]] | None
    ) -> int:
        """Note and announce what the database made of them; return how many it took."""
        read = None if rows is None else {row[0]: row for row in rows}
        taken = []
        for attempt in attempts:
            row = attempt.__dict__
            values = () if read is None else read.get(row["id"])
            if values is None:
                continue
            if len(values) == len(RETURNED):
                row.update(zip(RETURNED, values, strict=True))
            else:
                self._leave_to_be_read(attempt)
            attempt._state.adding = False
            row["created"] = True
            remember(attempt)
            taken.append(attempt)
        self.announce(taken)
        return len(taken)

    def announce(self, attempts: Sequence[AbstractAttempt]) -> None:
        if self.is_listened_to:
            for attempt in attempts:
                enqueued.send(sender=self.database.model, attempt=attempt)

    @property
    def is_listened_to(self) -> bool:
        return bool(enqueued.receivers) and enqueued.has_listeners(self.database.model)

    @staticmethod
    def _leave_to_be_read(attempt: AbstractAttempt) -> None:
        """Remove the values that Django then reads from the database when they are asked for."""
        row = attempt.__dict__
        absent: Sequence[str] = DECIDED
        if not _is_open(attempt):
            row["status"], absent = PENDING, UNKNOWN
        for name in absent:
            del row[name]
        if attempt.loads_defaults:
            attempt._state.adding = False
            attempt.refresh_from_db(fields=absent)

    @cached_property
    def _returns(self) -> bool:
        return self.database.connection.features.can_return_columns_from_insert

    @cached_property
    def columns(self) -> Columns:
        return Columns(self.database.attempts, self.database.alias)

    @cached_property
    def _kept(self) -> dict[tuple[Any, ...], str]:
        """The statements of single rows."""
        return {}

    def _read(self, row: Sequence[Any]) -> list[Any]:
        return [
            read(value) if read else value for read, value in zip(self._readers, row, strict=False)
        ]

    @cached_property
    def _readers(self) -> list[Any]:
        return [self.columns.reader(name) for name in RETURNED]


def _is_open(attempt: AbstractAttempt) -> bool:
    """Return True if the database has to decide something of a prepared row, by its clock."""
    row = attempt.__dict__
    return (
        row["scheduled_at"] is not NOW
        or bool(attempt.edges)
        or hasattr(row["expires_at"], "resolve_expression")
    )
