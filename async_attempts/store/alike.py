"""INSERTs of rows that are alike: of one template, so that only ids and arguments differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Final, NamedTuple

from django.db import transaction

from ..batches import STATEMENT_BYTES, by_size
from ..lifecycle import Status
from ..models import AbstractAttempt
from ..models.clock import NOW
from ..models.new_rows import seal_alike
from ..models.row_template import DUE_NOW, RowTemplate
from ..models.saving import held_columns, remember_alike
from ..plaintext import Plaintext
from .columns import Column
from .insert import Insert
from .notifications import gate_of

A_FEW: Final = 32
"""Rows that one statement takes on every database, so that they need no savepoint."""

CHUNK_ROWS: Final = 500
PENDING: Final = Status.PENDING.value
OWN_COLUMNS: Final = frozenset({"id", "args"})


class Place(NamedTuple):
    """The SQL for one column of a row, and its parameters.

    In place of a value that is prepared for each row stands its column, or NOW.
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
            note(chunk, template)

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
        return [column for column in self.insert.columns.all if column.attname in OWN_COLUMNS]

    def _made(self, rows: Sequence[AbstractAttempt]) -> Statement:
        places = self.places_of(rows[0])
        names = ", ".join(place.column.name for place in places)
        return Statement(
            before=f"INSERT INTO {self.insert.columns.table} ({names}) VALUES ",
            values=f"({', '.join(place.sql for place in places)})",
            after=self.insert.returning((), len(rows)),
            params=[param for place in places for param in place.params],
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

    def places_of(self, row: AbstractAttempt) -> list[Place]:
        """Return the columns to be written, but for those that are NULL anyway."""
        columns = self.insert.columns
        places = []
        for column, value in zip(columns.all, columns.values_of(row), strict=True):
            if column.attname in OWN_COLUMNS:
                places.append(Place(column, "%s", [column]))
            elif value is NOW:
                sql, params = NOW.on(self.database.vendor)
                places.append(Place(column, sql, [NOW] * len(params)))
            elif value is not None or column.literal != "NULL":
                sql, params = columns.placed(column, value)
                if params and not column.plain_types and not hasattr(value, "resolve_expression"):
                    # A project's own field may prepare a value in another way for each row.
                    params = [column]
                places.append(Place(column, sql, params))
        return places


def note(rows: Sequence[AbstractAttempt], template: RowTemplate) -> None:
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
        remember_alike(row, held)
