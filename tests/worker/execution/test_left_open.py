"""A transaction that a target leaves open behind Django's back fails it, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, states, stored
from tests.worker.helpers.executing import drain_in_threads, perform_in_one_thread

on_mariadb = pytest.mark.only("mariadb", reason="its driver doesn't tell of transactions")


def execute(database: str, statement: str) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute(statement)
        while getattr(cursor, "nextset", lambda: None)():
            """MySQL's driver has one result for each statement."""


def begin(database: str) -> None:
    execute(database, "BEGIN")
    effects.write_ledger(database)


def set_autocommit_off(database: str) -> None:
    transaction.set_autocommit(False, database)
    effects.write_ledger(database)


def have_the_driver_not_commit(database: str) -> None:
    connection = connections[database]
    connection.ensure_connection()
    if connection.vendor == "postgresql":
        connection.connection.autocommit = False
    elif connection.vendor == "mysql":
        connection.connection.autocommit(False)
    else:
        connection.connection.isolation_level = "DEFERRED"
    effects.write_ledger(database)


WAYS = [begin, set_autocommit_off, have_the_driver_not_commit]


def require_that_only_the_first_fails(database: str, perform: Callable[[], None]) -> None:
    left_open = enqueued(database, effects.act, options={"priority": 1})
    after = [enqueued(database, effects.act_by_mail) for _ in range(3)]
    perform()
    assert (stored(left_open).state, stored(left_open).num_attempts) == ("scheduled", 1)
    (failure,) = failures(left_open)
    assert failure.error_class.endswith("BrokenTransaction")
    assert {stored(attempt).status for attempt in after} == {"succeeded"}
    written = Ledger.objects.using(database).values_list("attempt_id", flat=True)
    assert set(written) == {attempt.pk for attempt in after}


@pytest.fixture
def then_writing(database, acting) -> Callable[[Callable[[str], Any]], None]:
    """The first target does this, and all others write a row."""

    def then_writing(first):
        ways = iter([first])

        def act() -> None:
            next(ways, effects.write_ledger)(database)

        acting(act)

    return then_writing


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("perform", [drain, lambda database: drain_in_threads(database, threads=1)])
def test_the_next_targets_write_what_they_write(database, then_writing, way, perform):
    then_writing(way)
    require_that_only_the_first_fails(database, lambda: perform(database))


@on_mariadb
@pytest.mark.parametrize(
    "statement",
    [
        "START TRANSACTION",
        "/* now */ BEGIN",
        "SELECT 1; BEGIN",
        "COMMIT AND CHAIN",
        "SET autocommit = 0",
    ],
)
def test_it_is_noticed_however_it_was_opened(database, statement):
    require_that_only_the_second_fails(database, lambda: execute(database, statement))


@on_mariadb
def test_it_is_noticed_of_the_driver_too(database):
    def begin() -> None:
        connections[database].connection.begin()

    require_that_only_the_second_fails(database, begin)


def require_that_only_the_second_fails(database: str, leave_open: Callable[[], None]) -> None:
    def open_and_write() -> None:
        leave_open()
        effects.write_ledger(database)

    write = partial(effects.write_ledger, database)
    # By the second one the session has been used, and nothing of it is in doubt.
    perform_in_one_thread(database, write, open_and_write, write, write)
    assert states(database) == ["succeeded", "failed", "succeeded", "succeeded"]
    assert Ledger.objects.using(database).count() == 3


def committed_by_hand(database):
    transaction.set_autocommit(False, database)
    effects.write_ledger(database)
    transaction.commit(database)


def committed_by_a_statement(database):
    execute(database, "BEGIN")
    effects.write_ledger(database)
    execute(database, "COMMIT")


@pytest.mark.parametrize("way", [committed_by_hand, committed_by_a_statement])
def test_a_target_that_commits_by_itself_has_succeeded(database, acting, way):
    acting(lambda: way(database))
    attempts = [enqueued(database, effects.act) for _ in range(3)]
    drain_in_threads(database, threads=1)
    assert {stored(attempt).status for attempt in attempts} == {"succeeded"}
    assert Ledger.objects.using(database).count() == 3


@pytest.mark.only("postgresql", "sqlite", reason="MariaDB's driver doesn't tell")
@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
def test_an_atomic_target_that_ends_its_transaction_has_failed(database, acting, statement):
    def end() -> None:
        effects.write_ledger(database)
        execute(database, statement)

    acting(end)
    attempt = performed(database, effects.act_atomically)
    assert attempt.state == "scheduled"
    assert "of its own" in failures(attempt)[0].message


def thread_of_the_orm(function, *args):
    return sync_to_async(function)(*args)


@pytest.mark.parametrize("called", [asyncio.to_thread, thread_of_the_orm])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("one_call_thread")
def test_a_call_of_an_async_target_fails_at_once(database, acting, way, called):
    async def leave_open() -> None:
        try:
            await called(way, database)
        finally:
            await called(effects.write_ledger, database)

    acting(leave_open)
    attempt = enqueued(database, effects.act_asynchronously)
    drain_in_threads(database, threads=1)
    assert stored(attempt).state == "scheduled"
    assert failures(attempt)[0].error_class.endswith("BrokenTransaction")
    # What the next call wrote is there.
    assert Ledger.objects.using(database).count() == 1


@on_mariadb
def test_a_plain_target_costs_no_statement_more(database, acting):
    asked = []

    def ask() -> None:
        with connections[database].cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
            asked.append(int(cursor.fetchone()[1]))

    acting(ask)
    for _ in range(4):
        enqueued(database, effects.act)
    drain_in_threads(database, threads=1)
    # The first ones may ask about a session that is new.
    assert asked[3] == asked[2] + 1
