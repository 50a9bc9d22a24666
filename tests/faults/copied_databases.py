"""The pytest plugin with which a run's databases are copies of migrated, empty ones.

With `--reuse-db` Django takes the copies for its test databases, and makes the others itself.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from psycopg import sql

from tests.databases import POSTGRES_URL, RUN, SQLITE_FILE, name_on_server
from tests.faults import forked_pytest
from tests.servers import connect_to_postgresql, drop_from_postgresql

VARIABLE: Final = "ATTEMPTS_TEST_COPIED_FROM"
OPTIONS: Final = ("-p", __name__, "--reuse-db")
ALIASES: Final = {"default": False, "postgresql": False}
"""Of those that are copied, whether Django keeps what is in them to restore it."""


@contextmanager
def made(directory: Path) -> Iterator[None]:
    """Have the databases in this directory, and on PostgreSQL by its name."""
    directory.mkdir()
    os.environ[VARIABLE] = str(directory)
    try:
        forked_pytest.done(_migrate, directory)
        yield
    finally:
        drop_from_postgresql(os.environ[POSTGRES_URL], directory.name)


def _migrate(directory: Path) -> None:
    os.environ |= {RUN: str(directory), "DJANGO_SETTINGS_MODULE": "tests.settings"}
    import django
    from django.db import connections
    from django.test.utils import setup_databases

    django.setup()
    setup_databases(verbosity=0, interactive=False, aliases=ALIASES)
    # PostgreSQL copies no database that somebody uses.
    connections.close_all()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Copy those that the tests ask for."""
    marks = [item.get_closest_marker("django_db") for item in session.items]
    asked = {alias for mark in marks if mark for alias in mark.kwargs.get("databases", ())}
    original, run = Path(os.environ[VARIABLE]), Path(os.environ[RUN])
    shutil.copy(original / SQLITE_FILE, run / SQLITE_FILE)
    if "postgresql" in asked:
        _copy_on_postgresql(name_on_server(original), name_on_server(run))


def _copy_on_postgresql(original: str, copy: str) -> None:
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(copy), sql.Identifier(original)
    )
    with connect_to_postgresql(os.environ[POSTGRES_URL]) as connection:
        connection.execute(statement)
