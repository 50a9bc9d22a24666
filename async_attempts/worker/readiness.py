"""Whether a worker can start on a database: reachable, migrated, at the right isolation level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.apps import apps
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import Error

from ..conf import attempt_model_name
from ..exceptions import AttemptsError, InvalidSetting
from ..store import store_for
from .options import Options

POOL_SIZE: Final = 4
"""That of psycopg_pool, if neither of its sizes is given."""


class NotReady(AttemptsError):
    """The database can't be reached or lacks migrations."""


def require_ready(alias: str) -> None:
    """Raises NotReady for the database's state, InvalidSetting for how the project uses it."""
    try:
        connection = connections[alias]
        connection.ensure_connection()
        executor = MigrationExecutor(connection)
        labels = {"async_attempts", apps.get_model(attempt_model_name())._meta.app_label}
        leaves = [node for node in executor.loader.graph.leaf_nodes() if node[0] in labels]
        missing = executor.migration_plan(leaves)
        problem = store_for(alias).isolation_problem()
    except Error as error:
        raise NotReady(f"The database {alias!r} can't be reached: {error}") from error
    if missing:
        raise NotReady(
            f"The database {alias!r} lacks {len(missing)} migrations of "
            f"{', '.join(sorted(labels))}: run manage.py migrate --database {alias}."
        )
    if problem:
        raise InvalidSetting(problem)


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
