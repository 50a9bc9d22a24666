"""The store of one database: its parts, and how they rest on each other."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .attempts import Attempts
from .changes import Changes
from .claim_trials import Trials
from .claims import Claims
from .database import Database
from .dependencies import Dependencies
from .dialects.base import Dialect
from .ends import Ends
from .insert import Insert, InsertAlike
from .limits import Limits
from .malformed_rows import MalformedRows
from .missing_keys import MissingKeys
from .outcomes import Outcomes, Progress
from .prerequisites import Prerequisites
from .queues import Queues
from .retention import Retention
from .revisits import What
from .schedules import Schedules
from .shared_keys import SharedKeys
from .statistics import Statistics
from .workers import Workers


class Store:
    """The attempts and workers of one database, a part for each subject."""

    def __init__(self, alias: str) -> None:
        kind, insert, alike = _dialect_of(alias)
        self.database = Database(alias, kind.around_transactions)
        self.dialect = kind(self.database)
        database, dialect, new = self.database, self.dialect, insert(self.database)
        self.ends = Ends(database)
        self.dependencies = Dependencies(database, self.ends)
        self.prerequisites = Prerequisites(database, self.dependencies)
        self.outcomes = Outcomes(database, dialect, self.dependencies, self.ends)
        self.limits = Limits(database, dialect)
        self.queues = Queues(database, dialect, self.limits)
        self.claims = Claims(database, dialect, self.outcomes, self.limits, self.queues)
        self.workers = Workers(database, dialect, self.dependencies, self.ends, self.limits)
        self.shared_keys = SharedKeys(database, new, self.prerequisites)
        self.attempts = Attempts(alike(new), self.shared_keys, self.prerequisites, self.queues)
        self.schedules = Schedules(database, self.attempts)
        self.changes = Changes(database, self.dependencies, self.ends)
        self.retention = Retention(database, dialect, self.dependencies, self.ends)
        self.progress = Progress(database, dialect)
        self.statistics = Statistics(database, dialect)
        self.missing_keys = MissingKeys(database, dialect, self.limits)
        trials = Trials(database, dialect)
        self.malformed_rows = MalformedRows(database, dialect, self.limits, trials)

    def revisit(self) -> int:
        """Come back to rows that were passed over; returns how many may have become due."""
        revisits = self.database.revisits
        if not revisits:
            return 0
        return (
            revisits.visit(What.DEPENDENTS, self.prerequisites.note_dependents)
            + revisits.visit(What.EDGES, self.dependencies.close)
            + revisits.visit(What.SLOTS, self.limits.unpark)
        )


def _dialect_of(alias: str) -> tuple[type[Dialect], Any, Any]:
    vendor = connections[alias].vendor
    if problem := driver_problem(alias, vendor):
        raise ImproperlyConfigured(problem)
    if vendor == "postgresql":
        from .dialects.postgresql import PostgreSQL
        from .dialects.postgresql_insert import PostgreSQLAlike, PostgreSQLInsert

        return PostgreSQL, PostgreSQLInsert, PostgreSQLAlike
    if vendor == "mysql":
        from .dialects.mysql import MySQL
        from .dialects.mysql_insert import MySQLInsert

        return MySQL, MySQLInsert, InsertAlike
    if vendor == "sqlite":
        from .dialects.sqlite import SQLite

        return SQLite, Insert, InsertAlike
    raise ImproperlyConfigured(
        f"async_attempts: the database {alias!r} is {vendor}; supported are PostgreSQL, "
        "MariaDB, MySQL and SQLite."
    )


def driver_problem(alias: str, vendor: str) -> str | None:
    """Return why no attempts can be kept by the driver that Django has found, if that is so."""
    if vendor != "postgresql":
        return None
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if is_psycopg3:
        return None
    return (
        f"DATABASES[{alias!r}]: async_attempts needs psycopg 3, not psycopg2: "
        "pip install 'django-async-attempts[postgresql]'. Django takes it where both are installed."
    )
