"""The fixtures of the tests in which workers, connections and servers die."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from django.db import connections

from tests.databases import RUN
from tests.faults.ledger import Book
from tests.faults.proxy import Proxy
from tests.faults.server import Server, known_as, migrated
from tests.worker.helpers.processes import Workers, workers

__all__ = ["book", "mortals", "own_server", "proxied", "proxy", "torn", "workers"]

LEASE = 1.5
MAX_CRASHES = 3

has_connections = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite has no connections that somebody else could cut"
)


@pytest.fixture
def mortals(workers: Workers) -> Workers:
    """Starts workers whose lease is short, so that a dead one is soon missed."""
    workers.settings = {"LEASE": LEASE, "MAX_CRASHES": MAX_CRASHES}
    return workers


@pytest.fixture
def book(database: str, tmp_path: Path) -> Book:
    """What this test's callers promise and its workers perform."""
    return Book(database, tmp_path)


@pytest.fixture
def proxy(database: str) -> Iterator[Proxy]:
    """Stands between the database and who uses its settings."""
    with Proxy(database) as proxy:
        yield proxy


@pytest.fixture
def proxied(database: str, proxy: Proxy) -> Iterator[str]:
    """An alias of this process for the database behind the proxy."""
    with known_as(f"proxied_{database}", proxy.settings) as alias:
        yield alias


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """A PostgreSQL that the tests of one file may tear down.

    Not below pytest's own directory: a second pytest shuts that to the server's user.
    """
    with (
        TemporaryDirectory(prefix="server_", dir=os.environ[RUN]) as directory,
        Server(Path(directory) / "data") as server,
    ):
        yield server


@pytest.fixture
def torn(own_server: Server, transactional_db: None) -> Iterator[str]:
    """The alias, here and in workers, of the one database of `own_server`; its tables are empty."""
    with known_as("torn", own_server.settings) as alias:
        migrated(alias)
        yield alias
        own_server.start()
        emptied(alias)


def emptied(alias: str) -> None:
    """Delete all attempts, workers and effects there."""
    connection = connections[alias]
    tables = connection.introspection.django_table_names(include_views=False)
    ours = [name for name in tables if name.startswith(("async_attempts_", "shop_"))]
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(map(connection.ops.quote_name, ours))} CASCADE")
