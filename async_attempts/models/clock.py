"""The database's clock: the only one that decides what is due and what is dead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, Func
from django.db.models.sql.compiler import SQLCompiler


class DatabaseNow(Func):
    """The moment of the statement, in UTC, with microseconds."""

    template = "STATEMENT_TIMESTAMP()"
    arity = 0
    output_field = DateTimeField()

    def as_mysql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        # Django's Now() is in the connection's zone there.
        return "UTC_TIMESTAMP(6)", ()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        # SQLite runs in this process, and its own 'now' has milliseconds only.
        now = datetime.now(UTC).replace(tzinfo=None)
        return "%s", (now.isoformat(sep=" ", timespec="microseconds"),)
