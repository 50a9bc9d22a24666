"""The databases of the tests, as Django's `DATABASES`, read from the environment alone."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import environ
from django.db import connections

POSTGRES_URL: Final = "POSTGRES_URL"
MARIADB_URL: Final = "MARIADB_URL"
MARIADB_ABSENT: Final = "ATTEMPTS_TEST_MARIADB_ABSENT"
RUN: Final = "ATTEMPTS_TEST_RUN"
LIVE: Final = "ATTEMPTS_TEST_DATABASES"

SQLITE_FILE: Final = "test_attempts.sqlite3"
"""The test database, in the directory of a run."""

ALIASES: Final = {"sqlite": "default", "postgresql": "postgresql", "mariadb": "mariadb"}


def from_environment() -> dict[str, dict[str, Any]]:
    """`DATABASES`: a parent test's own, if it gave them; else SQLite and each known server."""
    if live := os.environ.get(LIVE):
        databases: dict[str, dict[str, Any]] = json.loads(live)
        return databases
    databases = {"default": _sqlite()}
    if url := os.environ.get(POSTGRES_URL):
        databases["postgresql"] = _server(url)
    if url := os.environ.get(MARIADB_URL):
        databases["mariadb"] = _server(url)
        databases["mariadb"]["OPTIONS"] |= {
            "isolation_level": "read committed",
            "charset": "utf8mb4",
        }
        databases["mariadb"]["TEST"] |= {"CHARSET": "utf8mb4"}
    return databases


def live(aliases: Iterable[str]) -> str:
    """The databases as this process has them open now, for `ATTEMPTS_TEST_DATABASES`."""
    return json.dumps({alias: connections[alias].settings_dict for alias in aliases}, default=str)


def _sqlite() -> dict[str, Any]:
    directory = Path(os.environ.get(RUN) or tempfile.gettempdir())
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(directory / "attempts.sqlite3"),
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
        # A file, as the default would be a memory that a child process can't open.
        "TEST": {"NAME": str(directory / SQLITE_FILE)},
    }


def _server(url: str) -> dict[str, Any]:
    database = environ.Env.db_url_config(url)
    database.setdefault("OPTIONS", {})
    name = name_on_server(Path(os.environ.get(RUN, "attempts")))
    # Without dependencies, so that it can be made where no test needs the default database.
    database["TEST"] = {"NAME": name, "DEPENDENCIES": []}
    return dict(database)


def name_on_server(run: Path) -> str:
    """The test database of a run with this directory, so that two runs on one server don't meet."""
    return f"test_{run.name}"


def move_table(monkeypatch: Any, model: Any) -> None:
    """Have `model` name a table that no database has."""
    for field in model._meta.concrete_fields:
        # Django keeps it with the table's name, from when it is read first.
        _ = field.cached_col
    monkeypatch.setattr(model._meta, "db_table", "no_such_table")
