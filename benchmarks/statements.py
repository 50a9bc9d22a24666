"""How many statements others execute on a PostgreSQL database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connections

BY_STATEMENT: Final = """
SELECT coalesce(sum(calls), 0)::bigint FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND query NOT LIKE '%%pg_stat_statements%%'
"""

BY_TRANSACTION: Final = """
SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()
"""

REPORTING: Final = 1.5
"""Seconds after which an idle session has reported its transactions."""


class Statements:
    """Counted by pg_stat_statements where the server has loaded it, else by transactions.

    A transaction of several statements then counts once, and what looks counts itself: once for
    each look. Sessions report at most once a second.
    """

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.looks = 0
        self.loaded = "pg_stat_statements" in self._value("SHOW shared_preload_libraries")
        self.unit = "statements" if self.loaded else "transactions"
        if self.loaded:
            self._execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Let the statements of sessions that begin in this block be counted."""
        name = connections[self.alias].settings_dict["NAME"]
        if self.loaded:
            self._execute(f'ALTER DATABASE "{name}" SET pg_stat_statements.track = top')
        try:
            yield
        finally:
            if self.loaded:
                self._execute(f'ALTER DATABASE "{name}" RESET pg_stat_statements.track')

    def count(self) -> int:
        """How many there were until now."""
        if self.loaded:
            return int(self._value(BY_STATEMENT))
        time.sleep(REPORTING)
        self.looks += 1
        return int(self._value(BY_TRANSACTION)) - self.looks

    def _value(self, statement: str) -> str:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(statement)
            return str(cursor.fetchone()[0])

    def _execute(self, statement: str) -> None:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(statement)
