"""How `run_attempts` ends: 0 well, 2 by wrong usage, 3 for want of a database."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from async_attempts.models import Worker
from tests.databases import LIVE
from tests.shop import effects
from tests.worker.attempts import enqueued, states
from tests.worker.processes import Workers

Altered = Callable[..., dict[str, str]]


@pytest.fixture
def altered(database: str, workers: Workers) -> Altered:
    """The environment of a worker for whom this database's settings are these."""
    databases: dict[str, Any] = json.loads(workers.environment[LIVE])

    def altered(**settings: Any) -> dict[str, str]:
        changed = {**databases[database], **settings}
        return {LIVE: json.dumps({**databases, database: changed})}

    return altered


def options_of(database: str, workers: Workers) -> dict[str, Any]:
    options: dict[str, Any] = json.loads(workers.environment[LIVE])[database]["OPTIONS"]
    return options


def test_0_when_drained_though_an_attempt_failed(database, workers, tmp_path):
    enqueued(database, effects.write, "/no/such/directory", options={"max_attempts": 1})
    enqueued(database, effects.write, str(tmp_path / "ledger"))
    worker = workers.start("--drain", f"--database={database}")
    assert worker.exit_code() == 0, worker.output
    assert states(database) == ["failed", "succeeded"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--queues=emials"], "did you mean 'emails'"),
        (["--daemon"], "unrecognized arguments: --daemon"),
    ],
)
def test_2_for_wrong_usage(transactional_db, workers, arguments, said):
    worker = workers.start(*arguments)
    assert worker.exit_code() == 2, worker.output
    assert said in worker.output
    assert "Traceback" not in worker.output


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no isolation levels")
def test_2_at_repeatable_read(database, workers, altered):
    levels = {"postgresql": 3, "mariadb": "repeatable read"}
    options = {**options_of(database, workers), "isolation_level": levels[database]}
    worker = workers.start("--drain", f"--database={database}", **altered(OPTIONS=options))
    assert worker.exit_code() == 2, worker.output
    assert "READ COMMITTED, not REPEATABLE READ" in worker.output
    assert "isolation_level" in worker.output
    assert "Traceback" not in worker.output
    assert not Worker.objects.using(database).exists()


@pytest.mark.only("postgresql", reason="its level can be set beside Django's option")
def test_2_at_repeatable_read_by_the_servers_own_default(database, workers, altered):
    default = "-c default_transaction_isolation=repeatable\\ read"
    options = {**options_of(database, workers), "options": default}
    worker = workers.start("--drain", f"--database={database}", **altered(OPTIONS=options))
    assert worker.exit_code() == 2, worker.output
    assert "READ COMMITTED, not REPEATABLE READ" in worker.output


@pytest.mark.only("sqlite", reason="only SQLite has transaction modes")
def test_2_without_immediate_transactions(database, workers, altered):
    worker = workers.start("--drain", f"--database={database}", **altered(OPTIONS={"timeout": 20}))
    assert worker.exit_code() == 2, worker.output
    assert "OPTIONS['transaction_mode'] = 'IMMEDIATE'" in worker.output
    assert "Traceback" not in worker.output


def test_2_for_a_setting_that_is_unknown(transactional_db, workers, tmp_path):
    (tmp_path / "misspelt.py").write_text(
        "from tests.settings import *\nASYNC_ATTEMPTS = {'QUEUE': {}}\n"
    )
    worker = workers.start(DJANGO_SETTINGS_MODULE="misspelt", PYTHONPATH=str(tmp_path))
    assert worker.exit_code() == 2, worker.output
    assert "ASYNC_ATTEMPTS['QUEUE'] is unknown; did you mean 'QUEUES'" in worker.output
    assert "Traceback" not in worker.output


def test_3_when_the_database_is_not_migrated(database, workers, altered, tmp_path):
    # A database that is there, and has no tables of ours.
    empty = {"default": str(tmp_path / "empty.sqlite3"), "postgresql": "postgres", "mariadb": ""}
    worker = workers.start(
        "--drain", f"--database={database}", **altered(NAME=empty[database] or "mysql")
    )
    assert worker.exit_code() == 3, worker.output
    assert f"manage.py migrate --database {database}" in worker.output
    assert "Traceback" not in worker.output


def test_3_when_the_database_cannot_be_reached(database, workers, altered, tmp_path):
    nowhere = {"HOST": "127.0.0.1", "PORT": "1"}
    if database == "default":
        nowhere = {"NAME": str(tmp_path / "no directory" / "attempts.sqlite3")}
    worker = workers.start("--drain", f"--database={database}", **altered(**nowhere))
    assert worker.exit_code() == 3, worker.output
    assert f"{database!r} can't be reached" in worker.output
    assert "Traceback" not in worker.output
