"""Ten million rows that have ended, or aren't due, must cost a claim nothing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from async_attempts import Attempt
from async_attempts.conf import retention
from async_attempts.lifecycle import Snoozed, Succeeded
from async_attempts.models import Queue, Schedule, Worker
from async_attempts.models.unique_keys import SharedKey
from async_attempts.store import Result
from async_attempts.store.dialects.mysql import AT_ONCE
from async_attempts.store.dialects.postgresql import binary_cursor
from async_attempts.store.expressions import seconds_from_now
from async_attempts.targets.debounce import DebounceOptions

from .rows import a_moment, enqueued, multiply, put
from .sessions import IMPATIENT, PATIENT

SCHEDULED = 200_000
FINISHED = 500_000
UNKNOWN = 20_000
DUE = 1_000
WAITING = 1_000
WAITING_OF_A_KEY = 30_000

TABLE = Attempt._meta.db_table
WORKER_KEY = f"{Worker._meta.db_table}_pkey"
OVER_THE_PENDING = {"aa_attempt_claim"}
"""PostgreSQL also finds rows by their ids in here, as long as that is the smaller index."""
FEW = 100
BESIDE = [model._meta.db_table for model in (Worker, Schedule, Queue)]
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
    multiply(store, due, WAITING, status="'waiting'")
    multiply(store, due, WAITING_OF_A_KEY, status="'waiting'", limit_key="'of a customer'")
    blocked = {"status": "'waiting'", "blockers": "1", "limit_key": "'for others'"}
    multiply(store, due, WAITING_OF_A_KEY, **blocked)
    multiply(store, due, DUE - 1, scheduled_at=a_moment("-n", store), priority="n % 7")
    analyze, *empty = SQL[store.database.connection.vendor]
    with store.database.connection.cursor() as cursor:
        # The server may be analyzing such a table by itself; then this waits for it.
        cursor.execute(PATIENT[store.database.connection.vendor])
        cursor.execute(analyze)
        cursor.execute(IMPATIENT[store.database.connection.vendor])
        yield
        for statement in empty:
            cursor.execute(statement)


@pytest.mark.slow
@pytest.mark.usefixtures("a_full_table")
def test_workers_find_their_rows_by_the_indexes_made_for_it(store, worker):
    claims, claiming = observed(store, lambda: store.claims.claim(worker.pk, ["default"], 100))
    assert len(claims) == 100
    assert used(store, claiming) - {"PRIMARY", None} == {"aa_attempt_claim"}

    results: list[Result] = [(claim, Succeeded()) for claim in claims[:50]]
    results += [(claim, Snoozed(0)) for claim in claims[50:]]
    # The second offers some anew, as after an answer that was lost.
    for batch in (results[:50], results[45:]):
        lost, finishing = observed(
            store, lambda batch=batch: store.outcomes.finish(worker.pk, batch)
        )
        assert lost == []
        assert used(store, finishing) <= {"PRIMARY", *OVER_THE_PENDING}

    promoted, promoting = observed(store, store.claims.promote)
    assert promoted == 50
    assert used(store, promoting) - {"PRIMARY"} == {"aa_attempt_promote"}

    queue_state, looking = observed(store, lambda: store.claims.look(["default", "emails"]))
    assert (queue_state.next_due is not None, queue_state.has_due, queue_state.has_suspects) == (
        True,
        True,
        False,
    )
    # There are few schedules, whose ticks are asked for, too.
    assert used(store, looking) - {None, "aa_schedule_next_tick"} == {
        "aa_attempt_promote", "aa_attempt_claim", "aa_attempt_waiting",
    }  # fmt: skip

    late = store.dialect.due(Q()).update(expires_at=seconds_from_now(-1))
    found = []
    for _ in range(3):
        ids, expiring = observed(store, lambda: store.retention.expire_overdue(400))
        assert used(store, expiring[:1]) == {"aa_attempt_expires"}
        assert used(store, expiring[1:]) <= {"PRIMARY", "aa_attempt_expires", *OVER_THE_PENDING}
        found += ids
    assert len(found) == late > 900
    nothing, looking = observed(store, store.retention.expire_overdue)
    assert (nothing, used(store, looking)) == ([], {"aa_attempt_expires"})

    after = None
    for _ in range(2):
        (_, after), walking = observed(
            store, lambda after=after: store.missing_keys.bring_back([""], 1e6, after=after)
        )
        walk = [one for one in walking if "LIMIT" in one[0]]
        assert used(store, walk) == {"aa_attempt_promote"}

    key = SharedKey(bytes(12), DebounceOptions(debounce=1.0))
    _, calling = observed(store, lambda: store.shared_keys.debounce.last_attempts.of(key, 0))
    assert used(store, calling) == {"aa_attempt_unique_key"}

    keys = ["of a customer", "for others", "nobody's"]
    woken, waking = observed(store, lambda: store.limits.unpark(keys))
    assert woken == 1
    assert used(store, waking[:-1]) - {None} == {"aa_attempt_waiting"}
    assert used(store, waking[-1:]) <= {"PRIMARY", *OVER_THE_PENDING}

    (_, last), pruning = observed(store, lambda: store.retention.prune(retention(), limit=500))
    assert last is not None
    assert used(store, pruning[:1]) == {"PRIMARY"}


@pytest.fixture
def an_unknown_table(store, worker):
    """Many rows in a table of which the planner knows nothing, as nobody has analysed it."""
    due, later = *enqueued(store), *enqueued(store, scheduled_at=timedelta(days=1))
    with store.database.connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)")
        multiply(store, due, UNKNOWN, scheduled_at=a_moment("-n", store))
        multiply(store, later, UNKNOWN, scheduled_at=a_moment("-n", store))
        yield
        cursor.execute(f"ALTER TABLE {TABLE} RESET (autovacuum_enabled)")


@pytest.mark.only("postgresql", reason="its planner takes an unknown table for a small one")
@pytest.mark.usefixtures("an_unknown_table")
def test_rows_are_changed_by_the_primary_key_also_where_nothing_is_known_of_a_table(store, worker):
    """Walking a partial index once for each id took 300 ms for a thousand of them."""
    claims, claiming = observed(store, lambda: store.claims.claim(worker.pk, ["default"], 100))
    _, finishing = observed(
        store, lambda: store.outcomes.finish(worker.pk, [(c, Succeeded()) for c in claims])
    )
    promoted, promoting = observed(store, store.claims.promote)
    assert (len(claims), promoted) == (100, 1000)
    with cursor_for(store) as cursor:
        for statement, params in (*claiming, *finishing, *promoting):
            cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", params)
            [plan] = cursor.fetchone()[0]
            updates = [n for n in _nodes(plan["Plan"]) if n["Node Type"] == "ModifyTable"]
            assert updates
            for update in updates:
                names = {
                    n["Index Name"]
                    for n in _nodes(update)
                    if n.get("Index Cond", "").startswith("(id = ANY")
                }
                assert names == {f"{TABLE}_pkey"}, json.dumps(plan)


def observed(store, work):
    """What `work()` returns, and the statements about attempts that it sent."""
    if store.database.connection.vendor == "mysql":
        # Its store adds hints to what the ORM has written, behind everybody who could listen.
        with CaptureQueriesContext(store.database.connection) as queries:
            result = work()
        texts = [query["sql"] for query in queries]
        return result, [(sql, None) for sql in texts if f"`{TABLE}`" in sql]
    sent = []

    def note(execute, sql, params, many, context):
        if store.database.connection.ops.quote_name(TABLE) in sql:
            sent.append((sql, params))
        return execute(sql, params, many, context)

    with store.database.connection.execute_wrapper(note):
        result = work()
    return result, sent


def used(store, statements):
    """The indexes by which they find rows of attempts; an error if one sorts or reads them all."""
    assert statements
    explain = EXPLAIN[store.database.connection.vendor]
    with cursor_for(store) as cursor:
        return {name for statement in statements for name in explain(cursor, *statement)}


def cursor_for(store):
    """One that can send what the store sends."""
    is_postgresql = store.database.connection.vendor == "postgresql"
    return (
        binary_cursor(store.database.connection)
        if is_postgresql
        else store.database.connection.cursor()
    )


def explained_by_postgresql(cursor, statement, params):
    cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", params)
    [plan] = cursor.fetchone()[0]
    nodes = list(_nodes(plan["Plan"]))
    kinds = {node["Node Type"] for node in nodes if node.get("Relation Name", TABLE) == TABLE}
    assert "Seq Scan" not in kinds, json.dumps(plan)
    assert not ("LIMIT" in statement and "Sort" in kinds), json.dumps(plan)
    names = {node["Index Name"] for node in nodes if "Index Name" in node}
    names = {name for name in names if not name.startswith(Queue._meta.db_table)}
    return {"PRIMARY" if name == f"{TABLE}_pkey" else name for name in names} - {WORKER_KEY}


def _nodes(plan):
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def explained_by_mariadb(cursor, statement, params):
    # The session's setting for one statement can't be explained with it.
    cursor.execute(f"EXPLAIN {statement.strip().removeprefix(AT_ONCE)}", params)
    columns = [column[0] for column in cursor.description]
    for values in cursor.fetchall():
        step = dict(zip(columns, values, strict=True))
        if "optimized away" in step["Extra"]:
            # The least value was read at the end of an index, before any plan.
            yield "aa_attempt_promote"
            continue
        # A derived table has one row here, and its own steps are among these.
        if step["table"] in BESIDE or str(step["table"]).startswith("<derived"):
            continue
        assert step["type"] != "ALL", (step, statement)
        assert step["type"] != "index" or "LIMIT" in statement, (step, statement)
        # A few rows that are equal in all but the id may be sorted.
        sorts_many = "filesort" in step["Extra"] and int(step["rows"]) > FEW
        assert not ("LIMIT" in statement and sorts_many), (step, statement)
        yield step["key"]


def explained_by_sqlite(cursor, statement, params):
    cursor.execute(f"EXPLAIN QUERY PLAN {statement}", params)
    for *_, step in cursor.fetchall():
        if step.startswith("SCAN") and TABLE in step:
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
