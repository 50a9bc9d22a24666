"""How `run_attempts` ends: 0 well, 2 by wrong usage, 3 for want of a database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest
from django.db import connections

from async_attempts.models import Worker
from tests.databases import LIVE, live
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, states
from tests.worker.helpers.processes import PATIENCE

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run(child_environment: dict[str, str]) -> Run:
    """Runs the command to its end, as a supervisor does, with these variables besides."""

    def run(*arguments: str, **environment: str) -> CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "django", "run_attempts", *arguments],
            env=child_environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return run


def altered(database: str, **settings: Any) -> dict[str, str]:
    """The variables for a process for whom this database's settings are these."""
    databases: dict[str, Any] = json.loads(live(connections))
    databases[database] |= settings
    return {LIVE: json.dumps(databases)}


def test_0_when_drained_though_an_attempt_failed(database, run, tmp_path):
    enqueued(database, effects.write, "/no/such/directory", options={"max_attempts": 1})
    enqueued(database, effects.write, str(tmp_path / "ledger"))
    ended = run("--drain", f"--database={database}")
    assert ended.returncode == 0, ended.stdout
    assert states(database) == ["failed", "succeeded"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--queues=emials"], "did you mean 'emails'"),
        (["--daemon"], "unrecognized arguments: --daemon"),
    ],
)
def test_2_for_wrong_usage(transactional_db, run, arguments, said):
    ended = run(*arguments)
    assert ended.returncode == 2, ended.stdout
    assert said in ended.stdout
    assert "Traceback" not in ended.stdout


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no isolation levels")
def test_2_at_repeatable_read(database, run):
    levels = {"postgresql": 3, "mariadb": "repeatable read"}
    options = {
        **connections[database].settings_dict["OPTIONS"],
        "isolation_level": levels[database],
    }
    ended = run("--drain", f"--database={database}", **altered(database, OPTIONS=options))
    assert ended.returncode == 2, ended.stdout
    assert "READ COMMITTED, not REPEATABLE READ" in ended.stdout
    assert "isolation_level" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert not Worker.objects.using(database).exists()


@pytest.mark.only("postgresql", reason="its level can be set beside Django's option")
def test_2_at_repeatable_read_by_the_servers_own_default(database, run):
    default = "-c default_transaction_isolation=repeatable\\ read"
    options = {**connections[database].settings_dict["OPTIONS"], "options": default}
    ended = run("--drain", f"--database={database}", **altered(database, OPTIONS=options))
    assert ended.returncode == 2, ended.stdout
    assert "READ COMMITTED, not REPEATABLE READ" in ended.stdout


@pytest.mark.only("sqlite", reason="only SQLite has transaction modes")
def test_2_without_immediate_transactions(database, run):
    ended = run("--drain", f"--database={database}", **altered(database, OPTIONS={"timeout": 20}))
    assert ended.returncode == 2, ended.stdout
    assert "OPTIONS['transaction_mode'] = 'IMMEDIATE'" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_2_for_a_setting_that_is_unknown(transactional_db, run, tmp_path):
    (tmp_path / "misspelt.py").write_text(
        "from tests.settings import *\nASYNC_ATTEMPTS = {'QUEUE': {}}\n"
    )
    ended = run(DJANGO_SETTINGS_MODULE="misspelt", PYTHONPATH=str(tmp_path))
    assert ended.returncode == 2, ended.stdout
    assert "ASYNC_ATTEMPTS['QUEUE'] is unknown; did you mean 'QUEUES'" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_3_when_the_database_is_not_migrated(database, run, tmp_path):
    # A database that is there, and has no tables of ours.
    empty = {"default": str(tmp_path / "empty.sqlite3"), "postgresql": "postgres", "mariadb": ""}
    ended = run(
        "--drain", f"--database={database}", **altered(database, NAME=empty[database] or "mysql")
    )
    assert ended.returncode == 3, ended.stdout
    assert f"manage.py migrate --database {database}" in ended.stdout
    assert "Traceback" not in ended.stdout


def test_3_when_the_database_cannot_be_reached(database, run, tmp_path):
    nowhere = {"HOST": "127.0.0.1", "PORT": "1"}
    if database == "default":
        nowhere = {"NAME": str(tmp_path / "no directory" / "attempts.sqlite3")}
    ended = run("--drain", f"--database={database}", **altered(database, **nowhere))
    assert ended.returncode == 3, ended.stdout
    assert f"{database!r} can't be reached" in ended.stdout
    assert "Traceback" not in ended.stdout
