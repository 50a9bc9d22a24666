"""Readiness of a database for a worker: reachable, migrated, at the right isolation level."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Final

from django.apps import apps
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import Error

from ...conf import attempt_model_name
from ...exceptions import AttemptsError, InvalidSetting
from ...store import store_for
from ..shared.options import Options
from ..shared.shared_memory import now

FRESH: Final = 1.0
"""Seconds for which an answer holds."""

POOL_SIZE: Final = 4
"""The size of a pool of psycopg_pool, if neither of its sizes is given."""


class NotReady(AttemptsError):
    """The database can't be reached or lacks migrations."""


class Migrations(MigrationLoader):
    """The migrations of this process's code: their files are read once."""

    def __init__(self) -> None:
        super().__init__(None, load=False)
        self._has_read = False
        self._recorded: set[tuple[str, str]] | None = None

    def load_disk(self) -> None:
        """Read the files, the first time only: a deploy may exchange them under a process."""
        if not self._has_read:
            super().load_disk()
            self._has_read = True

    def missing(self, connection: BaseDatabaseWrapper, labels: Collection[str]) -> int:
        """Return how many migrations these apps need that the database lacks."""
        recorded = set(MigrationRecorder(connection).applied_migrations())
        if recorded != self._recorded:
            # The applied ones decide if a squashed migration replaces others.
            self.connection = connection
            self.build_graph()
            self._recorded = recorded
        leaves = [node for node in self.graph.leaf_nodes() if node[0] in labels]
        wanted = {
            node
            for leaf in leaves
            if leaf not in self.applied_migrations
            for node in self.graph.forwards_plan(leaf)
        }
        return len(wanted - self.applied_migrations.keys())


class Readiness:
    """Says if a worker can work on a database, which it asks at most once in FRESH seconds."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self._migrations = Migrations()
        self._problem: AttemptsError | None = None
        self._asked_at = -math.inf

    def problem(self) -> AttemptsError | None:
        """Return NotReady for the database's state, InvalidSetting for its use, or None.

        By the connection of the calling thread; not for two threads at once.
        """
        if now() - self._asked_at >= FRESH:
            self._problem = self._ask()
            self._asked_at = now()
        return self._problem

    def _ask(self) -> AttemptsError | None:
        labels = {"async_attempts", apps.get_model(attempt_model_name())._meta.app_label}
        try:
            connection = connections[self.alias]
            connection.ensure_connection()
            missing = self._migrations.missing(connection, labels)
            setting = store_for(self.alias).dialect.isolation_problem()
        except Error as error:
            unreachable = NotReady(f"The database {self.alias!r} can't be reached: {error}")
            unreachable.__cause__ = error
            return unreachable
        if missing:
            return NotReady(
                f"The database {self.alias!r} lacks {missing} migrations of "
                f"{', '.join(sorted(labels))}: run manage.py migrate --database {self.alias}."
            )
        return InvalidSetting(setting) if setting else None


def require_ready(alias: str) -> None:
    """Raise NotReady for the database's state, InvalidSetting for how the project uses it."""
    if (problem := Readiness(alias).problem()) is not None:
        raise problem


def too_small_pools(options: Options) -> Iterator[str]:
    """Complaints about pools that have fewer connections than a process has threads."""
    threads = options.threads + bool(options.async_tasks)
    for alias in connections:
        pool = connections.settings[alias]["OPTIONS"].get("pool")
        if not pool or connections[alias].vendor != "postgresql":
            continue
        given = {} if pool is True else pool
        size = given.get("max_size") or given.get("min_size", POOL_SIZE)
        if size < threads:
            yield (
                f"the pool of DATABASES[{alias!r}] has {size} connections, and up to "
                f"{threads} threads of each process perform targets: those that use the database "
                "may wait for one, and fail when that takes too long; set OPTIONS['pool']"
                "['max_size'], or --threads"
            )
