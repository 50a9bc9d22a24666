"""An enqueue passes the gate: it notifies while an idle worker holds it, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import transaction
from django.test import override_settings

from async_attempts import Attempt, call, enqueue_many
from async_attempts.store.notifications import channel, gate_key
from tests.settings import ASYNC_ATTEMPTS
from tests.shop import clients

from .sessions import rolled_back

pytestmark = pytest.mark.only("postgresql", reason="the others have no notifications")

Heard = Callable[[], int]


@pytest.fixture
def idle_worker(store) -> Iterator[psycopg.Connection[Any]]:
    """Another connection, which listens and holds the gate."""
    params = store.database.connection.get_connection_params()
    plain = {"cursor_factory": psycopg.Cursor, "context": None}
    with psycopg.connect(**params | plain, autocommit=True) as other:
        other.execute(f"LISTEN {channel()}")
        other.execute("SELECT pg_advisory_lock(%s)", [gate_key()])
        yield other


@pytest.fixture
def heard(idle_worker) -> Heard:
    """How many notifications have come since it was asked last."""

    def heard() -> int:
        # A round trip: what was sent before is here then.
        idle_worker.execute("SELECT 1")
        return len(list(idle_worker.notifies(timeout=0)))

    return heard


def one(database: str, **options: Any) -> Attempt:
    return call(clients.greet, 1).using(database=database, **options).enqueue()


def eight(database: str) -> list[Attempt]:
    return enqueue_many(call(clients.greet, n).using(database=database) for n in range(8))


def hundred(database: str) -> list[Attempt]:
    return enqueue_many(call(clients.greet, n).using(database=database) for n in range(100))


def created(database: str) -> Attempt:
    attempt: Attempt = Attempt.objects.using(database).create(
        target=clients, method_name="greet", method_args=[1]
    )
    return attempt


@pytest.mark.parametrize("write", [one, eight, hundred, created])
def test_an_idle_worker_hears_of_it_after_the_commit_and_once(database, heard, write):
    for _ in range(2):
        with transaction.atomic(database):
            write(database)
            assert heard() == 0
        assert heard() == 1


def test_in_autocommit_too(database, heard):
    one(database)
    assert heard() == 1


def test_what_is_scheduled_may_be_due_before_the_worker_meant_to_look(database, heard):
    one(database, scheduled_at=timedelta(hours=1))
    assert heard() == 1


def test_what_is_rolled_back_wakes_nobody(store, database, heard):
    with transaction.atomic(database):
        with rolled_back(store):
            one(database)
        with rolled_back(store):
            eight(database)
    assert heard() == 0


def test_a_token_that_is_taken_writes_nothing_to_be_heard_of(database, heard):
    one(database, idempotence_token="once")
    assert heard() == 1
    assert not one(database, idempotence_token="once").created
    assert heard() == 0


def test_without_an_idle_worker_nothing_is_sent(database, idle_worker, heard):
    idle_worker.execute("SELECT pg_advisory_unlock(%s)", [gate_key()])
    one(database)
    eight(database)
    assert heard() == 0


@pytest.mark.parametrize("write", [one, eight])
def test_no_worker_becomes_idle_before_the_transaction_has_ended(database, idle_worker, write):
    idle_worker.execute("SELECT pg_advisory_unlock(%s)", [gate_key()])
    ask = "SELECT pg_try_advisory_lock(%s)"
    with transaction.atomic(database):
        write(database)
        assert idle_worker.execute(ask, [gate_key()]).fetchone() == (False,)
    assert idle_worker.execute(ask, [gate_key()]).fetchone() == (True,)


@pytest.mark.parametrize("write", [one, eight, hundred, created])
def test_by_the_setting_nothing_is_sent(database, heard, write):
    write(database)
    assert heard() == 1
    with override_settings(ASYNC_ATTEMPTS={**ASYNC_ATTEMPTS, "NOTIFY": False}):
        write(database)
        assert heard() == 0
    write(database)
    assert heard() == 1


def test_many_rows_pass_once(store, database, worker):
    """In a plan, what is evaluated once for all rows is an InitPlan."""
    statements = []

    def keep(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with store.database.connection.execute_wrapper(keep), transaction.atomic(database):
        eight(database)
    [(sql, params)] = [s for s in statements if s[0].startswith("INSERT")]
    with store.database.connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN VERBOSE {sql}", params)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    after = plan.partition("InitPlan 1")[2]
    assert after.count("pg_try_advisory_xact_lock_shared") == 1
    assert plan.count("pg_try_advisory_xact_lock_shared") == 1
