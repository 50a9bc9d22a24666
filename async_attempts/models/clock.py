"""The database's clock: the only one that decides what is due and what is dead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func
from django.db.models.sql.compiler import SQLCompiler

Sql = tuple[str, tuple[Any, ...]]


class DatabaseNow(Func):
    """The moment of the statement, in UTC, with microseconds."""

    arity = 0
    output_field = DateTimeField()

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **context: Any
    ) -> Sql:
        return self.on(connection.vendor)

    as_sqlite = as_mysql = as_sql

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
