"""Ten million rows that have ended, or aren't due, must cost a claim nothing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test.utils import CaptureQueriesContext

from async_attempts import Attempt
from async_attempts.lifecycle import Snoozed, Succeeded
from async_attempts.models import Worker
from async_attempts.store import Result

from .rows import a_moment, enqueued, multiply, put

SCHEDULED = 200_000
FINISHED = 500_000
DUE = 1_000

TABLE = Attempt._meta.db_table
WORKER_KEY = f"{Worker._meta.db_table}_pkey"
OVER_THE_PENDING = {"aa_attempt_claim"}
"""PostgreSQL also finds rows by their ids in here, as long as that is the smaller index."""
SQL = {
    "postgresql": [f"ANALYZE {TABLE}"],
    "mysql": [
        f"ANALYZE TABLE {TABLE}",
        "SET foreign_key_checks = 0",
        f"TRUNCATE TABLE {TABLE}",
        "SET foreign_key_checks = 1",
    ],
    "sqlite": [
        f"ANALYZE {TABLE}",
        "PRAGMA foreign_keys = OFF",
        f"DELETE FROM {TABLE}",
        "DROP TABLE sqlite_stat1",
        "PRAGMA foreign_keys = ON",
    ],
}
"""To gather statistics, and to empty the table faster than a flush would."""


@pytest.fixture
def a_full_table(store, worker):
    due, later = *enqueued(store), *enqueued(store, scheduled_at=timedelta(days=1))
    put(store, due, args=b"")
    put(store, later, args=b"")
    ended = {"status": "'succeeded'", "completed_at": a_moment("-n", store)}
    multiply(store, due, FINISHED, **ended)
    multiply(store, later, SCHEDULED, scheduled_at=a_moment("3600 + n", store))
    multiply(store, due, DUE - 1, scheduled_at=a_moment("-n", store), priority="n % 7")
    analyze, *empty = SQL[store.connection.vendor]
    with store.connection.cursor() as cursor:
        cursor.execute(analyze)
        yield
        for statement in empty:
            cursor.execute(statement)


@pytest.mark.usefixtures("a_full_table")
def test_workers_find_their_rows_by_the_indexes_made_for_it(store, worker):
    claims, claiming = observed(store, lambda: store.claim(worker.pk, ["default"], 100))
    assert len(claims) == 100
    assert used(store, claiming) - {"PRIMARY"} == {"aa_attempt_claim"}

    results: list[Result] = [(claim, Succeeded()) for claim in claims[:50]]
    results += [(claim, Snoozed(0)) for claim in claims[50:]]
    for batch in (results[:50], results[45:]):
        lost, finishing = observed(store, lambda batch=batch: store.finish(worker.pk, batch))
        assert len(lost) == (0 if batch[0] == results[0] else 5)
        assert used(store, finishing) <= {"PRIMARY", *OVER_THE_PENDING}

    promoted, promoting = observed(store, store.promote)
    assert promoted == 50
    assert used(store, promoting) - {"PRIMARY"} == {"aa_attempt_promote"}

    _, looking = observed(store, store.next_due)
    assert used(store, looking) == {"aa_attempt_promote"}

    (_, last), pruning = observed(store, lambda: store.prune({"succeeded": 10.0**9}, limit=500))
    assert last is not None
    assert used(store, pruning[:1]) == {"PRIMARY"}


def observed(store, work):
    """What `work()` returns, and the statements about attempts that it sent."""
    with CaptureQueriesContext(store.connection) as queries:
        result = work()
    table = store.connection.ops.quote_name(TABLE)
    return result, [query["sql"] for query in queries if table in query["sql"]]


def used(store, statements):
    """The indexes by which they find rows of attempts; an error if one sorts or reads them all."""
    assert statements
    explain = EXPLAIN[store.connection.vendor]
    with store.connection.cursor() as cursor:
        return {name for statement in statements for name in explain(cursor, statement)}


def explained_by_postgresql(cursor, statement):
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}")
    [plan] = cursor.fetchone()[0]
    nodes = list(_nodes(plan["Plan"]))
    kinds = {node["Node Type"] for node in nodes if node.get("Relation Name", TABLE) == TABLE}
    assert "Seq Scan" not in kinds, json.dumps(plan)
    assert not ("LIMIT" in statement and "Sort" in kinds), json.dumps(plan)
    names = {node["Index Name"] for node in nodes if "Index Name" in node}
    return {"PRIMARY" if name == f"{TABLE}_pkey" else name for name in names} - {WORKER_KEY}


def _nodes(plan):
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def explained_by_mariadb(cursor, statement):
    cursor.execute(f"EXPLAIN {statement}")
    columns = [column[0] for column in cursor.description]
    for values in cursor.fetchall():
        step = dict(zip(columns, values, strict=True))
        if "optimized away" in step["Extra"]:
            # The least value was read at the end of an index, before any plan.
            yield "aa_attempt_promote"
            continue
        assert step["type"] != "ALL", (step, statement)
        assert step["type"] != "index" or "LIMIT" in statement, (step, statement)
        assert not ("LIMIT" in statement and "filesort" in step["Extra"]), (step, statement)
        yield step["key"]


def explained_by_sqlite(cursor, statement):
    cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
    for *_, step in cursor.fetchall():
        if step.startswith("SCAN"):
            assert "INDEX" in step, (step, statement)
        assert "TEMP B-TREE" not in step, (step, statement)
        if "USING" in step and TABLE in step:
            name = step.partition("INDEX ")[2].split(" ")[0]
            yield "PRIMARY" if name.startswith("sqlite_autoindex") else name


EXPLAIN = {
    "postgresql": explained_by_postgresql,
    "mysql": explained_by_mariadb,
    "sqlite": explained_by_sqlite,
}
