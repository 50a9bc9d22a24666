"""The database's clock: the only one that decides what is due and what is dead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func, Value
from django.db.models.sql.compiler import SQLCompiler

Sql = tuple[str, tuple[Any, ...]]

SPREAD_OUT: Final = {
    "postgresql": ("{} + random() * %s * interval '1 microsecond'", 1_000_000),
    "mysql": ("CAST({} AS DATETIME(6)) + INTERVAL FLOOR(RAND() * %s) MICROSECOND", 1_000_000),
    # Its functions know milliseconds; as Django writes them there, in full.
    "sqlite": (
        (
            "strftime('%%Y-%%m-%%d %%H:%%M:%%f', {}, "
            "printf('%%.3f seconds', (random() / 18446744073709551616.0 + 0.5) * %s / 1000)"
            ") || '000'"
        ),
        1000,
    ),
}
"""A moment and a random time after it, of at most a number in some part of a second."""


class DatabaseNow(Func):
    """The moment of the statement, in UTC, with microseconds."""

    arity = 0
    output_field = DateTimeField()

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **context: Any
    ) -> Sql:
        return self.on(connection.vendor)

    def on(self, vendor: str) -> Sql:
        """The expression in the words of one kind of database."""
        if vendor == "postgresql":
            return "STATEMENT_TIMESTAMP()", ()
        if vendor == "mysql":
            # Django's Now() is in the connection's zone there.
            return "UTC_TIMESTAMP(6)", ()
        # SQLite runs in this process, and its own 'now' has milliseconds only.
        now = datetime.now(UTC).replace(tzinfo=None)
        return "%s", (now.isoformat(sep=" ", timespec="microseconds"),)


class SpreadOut(Func):
    """A moment and a random part of `seconds` after it, different for each row."""

    output_field = DateTimeField()

    def __init__(self, moment: Any, seconds: float) -> None:
        is_expression = hasattr(moment, "resolve_expression")
        super().__init__(moment if is_expression else Value(moment, output_field=DateTimeField()))
        self.seconds = seconds

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **context: Any
    ) -> Sql:
        [moment] = self.get_source_expressions()
        sql, params = compiler.compile(moment)
        form, unit = SPREAD_OUT[connection.vendor]
        return form.format(sql), (*params, round(self.seconds * unit))


NOW: Final = DatabaseNow()
"""The only instance in use, so that a column that has it is recognised."""
