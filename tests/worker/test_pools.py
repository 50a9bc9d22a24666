"""A pool of connections, with threads of its own, and children that are forked beside it."""

from __future__ import annotations

import pytest
from django.db import connections

from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.attempts import enqueued, states
from tests.worker.processes import until

pytestmark = pytest.mark.only("postgresql", reason="only psycopg has pools")

POOL = {"min_size": 1, "max_size": 8, "timeout": 20}


def use_the_pool() -> None:
    """Have one, with a connection that is used, before there is any child."""
    with connections["postgresql"].cursor() as cursor:
        cursor.execute("SELECT 1")
    assert connections["postgresql"].settings_dict["OPTIONS"]["pool"]


@pytest.fixture
def pooled(database, workers):
    options = connections[database].settings_dict["OPTIONS"]
    workers.databases[database] = {"OPTIONS": {**options, "pool": POOL}}
    return workers


def test_children_have_pools_of_their_own(database, pooled):
    for _ in range(60):
        enqueued(database, effects.write_row, database)
    flags = ("--drain", "--processes=2", "--threads=3", f"--database={database}")
    worker = pooled.start(*flags, prepare=use_the_pool)
    assert worker.exit_code() == 0, worker.output
    assert set(states(database)) == {"succeeded"}
    assert Ledger.objects.using(database).count() == 60


def test_a_child_that_died_is_replaced_by_one_that_works(database, pooled, tmp_path):
    path = str(tmp_path / "path")
    enqueued(database, effects.write_row_and_die_once, database, path)
    worker = pooled.start("--poll-interval=0.05", f"--database={database}", prepare=use_the_pool)
    until(lambda: states(database) == ["succeeded"], worker)
    assert Ledger.objects.using(database).count() == 1
