"""What the other tests rest on: the databases that they and their child processes meet."""

from __future__ import annotations

import subprocess
import sys
import uuid

import pytest
from django.db import connections

from tests import databases
from tests.shop.models import Ledger


def test_a_child_process_reads_the_row_that_the_test_committed(database, child_environment):
    written = Ledger.objects.using(database).create(attempt_id=uuid.uuid4())
    read = (
        "import django; django.setup();"
        "from tests.shop.models import Ledger;"
        f"print(Ledger.objects.using({database!r}).get().attempt_id)"
    )
    child = subprocess.run(
        [sys.executable, "-c", read],
        env=child_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == str(written.attempt_id)


def test_a_test_on_one_database_may_not_touch_another(database):
    others = {*databases.ALIASES.values()} & {*connections} - {database}
    for other in others:
        with pytest.raises(AssertionError, match=f"queries to {other!r} are not allowed"):
            Ledger.objects.using(other).exists()


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_begins_with_empty_tables(database, turn):
    assert not Ledger.objects.using(database).exists()
    Ledger.objects.using(database).create(attempt_id=uuid.uuid4())


@pytest.mark.only("sqlite", reason="the others have no such setting")
def test_sqlite_is_a_file_with_a_write_ahead_log(database):
    with connections[database].cursor() as cursor:
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
