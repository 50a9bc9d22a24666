"""Whether a worker can start on a database: reachable, migrated, at the right isolation level."""

from __future__ import annotations

from django.apps import apps
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import Error

from ..conf import attempt_model_name
from ..exceptions import AttemptsError, InvalidSetting
from ..store import store_for


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
