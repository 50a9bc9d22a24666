"""A project whose attempt model is its own from the first migration on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from tests import databases

WALK = "from tests.swapped.walk import walk; walk()"


@pytest.fixture
def empty_database(database: str, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A database of the test's own on the same server, as Django's settings describe it."""
    connection = connections[database]
    described = connection.settings_dict
    if connection.vendor == "sqlite":
        yield described | {"NAME": str(tmp_path / "swapped.sqlite3")}
        return
    name = f"{described['NAME']}_swapped"
    quoted = connection.ops.quote_name(name)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {quoted}")
        try:
            yield described | {"NAME": name}
        finally:
            cursor.execute(f"DROP DATABASE {quoted}")


def test_it_is_migrated_enqueued_performed_and_listed(
    child_environment: dict[str, str], empty_database: dict[str, Any], tmp_path: Path
):
    migrations = tmp_path / "swapped_migrations"
    migrations.mkdir()
    (migrations / "__init__.py").touch()
    child = subprocess.run(
        [sys.executable, "-c", WALK],
        env=child_environment
        | {
            "DJANGO_SETTINGS_MODULE": "tests.swapped.settings",
            "PYTHONPATH": str(tmp_path),
            databases.LIVE: json.dumps({"default": empty_database}, default=str),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    told = json.loads(child.stdout.splitlines()[-1])
    # Arrays have one value for all of their rows.
    assert told.pop("receipts") in {4, 18}
    assert told == {
        "model": "swapped.OrderAttempt",
        "same": True,
        "rows": [
            ["ACME", "succeeded", "shipped 1"],
            ["GLOBEX", "failed", None],
            ["INITECH", "succeeded", "shipped 3"],
        ],
        "defaults": [["100% \\ 'all'", "0190163d-8694-739b-aea5-966c26f8ad91"]],
        "urgent": [True, False, False],
        "complaints": [["globex", "LookupError", "failed"]],
        "failures": ["2"],
        "retried": 1,
        "answers": [200, 200],
        "followed": ["acme", "acme"],
        "shows": [True, True],
        "tables": [
            "async_attempts_dependency",
            "async_attempts_failure",
            "async_attempts_queue",
            "async_attempts_schedule",
            "async_attempts_slot",
            "async_attempts_tally",
            "async_attempts_worker",
            "swapped_complaint",
            "swapped_orderattempt",
        ],
    }
    assert [file.name for file in migrations.glob("0*.py")] == ["0001_initial.py"]
