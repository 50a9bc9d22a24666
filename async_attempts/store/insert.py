"""The INSERTs of new attempts, and what is known of a row that was written.

Rows are alike if one template made them: only their ids and arguments differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from django.db import transaction

from ..batches import STATEMENT_BYTES, by_size
from ..lifecycle import Status
from ..models import AbstractAttempt, AttemptQuerySet
from ..models.clock import NOW
from ..models.row_template import DUE_NOW, RowTemplate
from ..models.saving import held_columns, remember
from ..models.sealing import seal_alike
from ..plaintext import Plaintext
from ..signals import enqueued
from .columns import MOST, Column, Columns, Placeholders
from .database import Database
from .notifications import gate_of

_T = TypeVar("_T")

RETURNED: Final = ("id", "status", "scheduled_at", "expires_at", "created_at")
DECIDED: Final = RETURNED[1:]
UNKNOWN: Final = ("scheduled_at", "created_at")
"""The ones of them that only the database knows of a row that is due now."""
PENDING: Final = Status.PENDING.value

A_FEW: Final = 32
"""Rows that one statement takes on every database, so that they need no savepoint."""

CHUNK_ROWS: Final = 500
PER_ROW: Final = frozenset({"id", "args"})


LIVE_UNCLAIMED: Final = """
SELECT {columns} FROM {table}
WHERE id = %s AND status IN ('scheduled', 'pending', 'waiting') AND claimed_by IS NULL {lock}
"""


class Insert:
    """One INSERT for one attempt or many, already prepared."""

    unique_conflict = " ON CONFLICT ({key}) WHERE {key} IS NOT NULL DO NOTHING"

    shared_lock = ""
    """SQL after a SELECT for a lock that other readers can have, too; SQLite has one writer."""

    def __init__(self, database: Database) -> None:
        self.database = database

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
            placeholders, params = columns.placeholders_of(columns.values_of(attempts[0]))
            key = (placeholders, keyed, returned, gate_of(self.database.alias))
            if (sql := self._kept.get(key)) is None:
                if len(self._kept) >= MOST:
                    self._kept.clear()
                sql = self._kept[key] = self._values([placeholders], keyed, returned)
            return sql, params
        rows, params = [], []
        for attempt in attempts:
            placeholders, given = columns.placeholders_of(columns.values_of(attempt))
            rows.append(placeholders)
            params += given
        return self._values(rows, keyed, returned), params

    def _values(self, rows: Sequence[Placeholders], keyed: bool, returned: Sequence[str]) -> str:
        varying = {number for placeholders in rows for number, _ in placeholders}
        usual = {
            number: column.literal
            for number, column in enumerate(self.columns.all)
            if number in varying or column.literal != "NULL"
        }
        names = [self.columns.all[number].name for number in usual]
        values = ", ".join(
            f"({', '.join({**usual, **dict(placeholders)}.values())})" for placeholders in rows
        )
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

    def lock_unclaimed(self, pk: UUID) -> AbstractAttempt | None:
        """Return the live attempt if nobody has claimed it; nobody can until the transaction ends.

        A shared lock: callers that it serves don't wait for each other, and claims pass it over.
        """
        columns, table = ", ".join(self.columns.selected), self.columns.table
        sql = LIVE_UNCLAIMED.format(columns=columns, table=table, lock=self.shared_lock)
        return next(iter(self.database.attempts.raw(sql, [self.database.stored(pk)])), None)

    def rows_between(self, first: bytes, last: bytes, look: int) -> AttemptQuerySet[Any]:
        """Return the attempts with unique keys in this range, the last one first.

        `look`: 0 for the first one, 1 for another, and one more whenever nothing has changed.
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


class Placeholder(NamedTuple):
    """The SQL for one column of a row, and its parameters.

    A `Column`, or NOW, among the parameters is a placeholder: `prepared` puts there what the row
    has.
    """

    column: Column
    sql: str
    params: Sequence[Any]


class Statement(NamedTuple):
    """An INSERT in parts: `values` comes once for each row, and so do `params`."""

    before: str
    values: str
    after: str
    params: Sequence[Any]


class InsertAlike:
    """The INSERTs of rows of one template."""

    def __init__(self, insert: Insert) -> None:
        self.insert = insert
        self.database = insert.database

    def write(
        self,
        rows: Sequence[AbstractAttempt],
        plaintexts: Sequence[Plaintext],
        template: RowTemplate,
    ) -> None:
        """Write all of these rows or none, their arguments sealed on the way."""
        is_one = (
            len(rows) <= A_FEW
            and not self.insert.is_listened_to
            and sum(map(len, plaintexts)) <= STATEMENT_BYTES
        )

        def work() -> None:
            try:
                with nullcontext() if is_one else transaction.atomic(self.database.alias):
                    self.write_within(rows, plaintexts, template)
                    self.insert.announce(rows)
            except BaseException:
                for row in rows:
                    row._state.adding = True
                    row.__dict__.update(DUE_NOW)
                raise

        self.database.retry_on_conflict(work)

    def write_one(
        self, row: AbstractAttempt, plaintexts: Sequence[Plaintext], template: RowTemplate
    ) -> None:
        """Write this row by one statement, its arguments sealed on the way."""
        rows = [row]
        self.database.retry_on_conflict(lambda: self.write_within(rows, plaintexts, template))
        self.insert.announce(rows)

    def write_within(
        self,
        rows: Sequence[AbstractAttempt],
        plaintexts: Sequence[Plaintext],
        template: RowTemplate,
    ) -> None:
        """Write them in the transaction that is open, or by one statement; announce nothing."""
        start = 0
        for some in by_size(plaintexts, len, number=CHUNK_ROWS):
            chunk = rows[start : start + len(some)]
            start += len(some)
            seal_alike(chunk, some)
            sql, params = self.statement(chunk, template)
            with self.database.connection.cursor() as cursor:
                cursor.execute(sql, params)
            mark_written(chunk, template)

    def statement(
        self, rows: Sequence[AbstractAttempt], template: RowTemplate
    ) -> tuple[str, Sequence[Any]]:
        """Return the statement that writes these rows, and its parameters."""
        key = (self, gate_of(self.database.alias), len(rows) == 1)
        if (made := template.statements.get(key)) is None:
            made = template.statements[key] = self._made(rows)
        params = [param for row in rows for param in self.prepared(made.params, row)]
        return f"{made.before}{', '.join([made.values] * len(rows))}{made.after}", params

    @cached_property
    def own(self) -> list[Column]:
        """The columns of which each row has its own value."""
        return [column for column in self.insert.columns.all if column.attname in PER_ROW]

    def _made(self, rows: Sequence[AbstractAttempt]) -> Statement:
        placeholders = self.placeholders_of(rows[0])
        names = ", ".join(placeholder.column.name for placeholder in placeholders)
        return Statement(
            before=f"INSERT INTO {self.insert.columns.table} ({names}) VALUES ",
            values=f"({', '.join(placeholder.sql for placeholder in placeholders)})",
            after=self.insert.returning((), len(rows)),
            params=[param for placeholder in placeholders for param in placeholder.params],
        )

    def prepared(self, params: Sequence[Any], row: AbstractAttempt) -> Iterator[Any]:
        """Yield the parameters of a kept statement, as the driver takes them for this row."""
        for param in params:
            if type(param) is Column:
                yield self.insert.columns.prepared(param, row.__dict__[param.attname])
            elif param is NOW:
                yield from NOW.on(self.database.vendor)[1]
            else:
                yield param

    def placeholders_of(self, row: AbstractAttempt) -> list[Placeholder]:
        """Return the columns to be written, but for those that are NULL anyway."""
        columns = self.insert.columns
        placeholders = []
        for column, value in zip(columns.all, columns.values_of(row), strict=True):
            if column.attname in PER_ROW:
                placeholders.append(Placeholder(column, "%s", [column]))
            elif value is NOW:
                sql, params = NOW.on(self.database.vendor)
                placeholders.append(Placeholder(column, sql, [NOW] * len(params)))
            elif value is not None or column.literal != "NULL":
                sql, params = columns.placeholder_of(column, value)
                if params and not column.plain_types and not hasattr(value, "resolve_expression"):
                    # A project's own field may prepare a value in another way for each row.
                    params = [column]
                placeholders.append(Placeholder(column, sql, params))
        return placeholders


def mark_written(rows: Sequence[AbstractAttempt], template: RowTemplate) -> None:
    """Note on these rows that they are written; what the database decided is read when asked."""
    held = template.held
    for row in rows:
        columns = row.__dict__
        columns["status"] = PENDING
        del columns["scheduled_at"], columns["created_at"]
        columns["_state"].adding = False
        columns["created"] = True
        if held is None:
            held = template.held = held_columns(row)
        columns["_loaded"] = held, columns["id"], columns["args"]
