"""Idempotence tokens: at most one attempt, whoever comes when."""

from __future__ import annotations

from functools import partial

import pytest
from django.db import OperationalError, transaction
from django.test.utils import CaptureQueriesContext

from async_attempts import Attempt, DuplicateAttempt, call
from async_attempts.calls import enqueue_many
from async_attempts.store import inserting
from tests.shop import clients
from tests.shop.models import Order
from tests.shop.unsaved import new_attempt

from .rows import enqueued, row
from .sessions import PATIENCE, at_once, wait_until_somebody_waits

REPEATABLE_READ = {
    "postgresql": "SET default_transaction_isolation = 'repeatable read'",
    "mysql": "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    # Its transactions are serializable, and IMMEDIATE ones see all that was committed before.
    "sqlite": "SELECT 1",
}


def once(store, key="once"):
    return call(clients.greet, 0).using(database=store.alias, idempotence_token=key).enqueue()


def created(store):
    options = {"target": clients, "method_name": "greet", "method_args": [1]}
    return Attempt.objects.create(database=store.alias, idempotence_token="once", **options)


def look_around(store):
    """Let a transaction take its snapshot."""
    return store.attempts.count()


def test_the_second_call_gets_the_row_of_the_first(store):
    first, second = once(store), once(store)
    assert (first.created, second.created, second.pk) == (True, False, first.pk)
    assert second.method_args == [0]


def test_a_token_is_the_methods_own(store):
    once(store)
    other = call(clients.send_welcome, 1).using(database=store.alias, idempotence_token="once")
    assert other.enqueue().created
    assert once(store, "another").created


def test_the_same_token_twice_in_one_batch_is_one_row(store):
    calls = [
        call(clients.greet, number).using(database=store.alias, idempotence_token="once")
        for number in range(3)
    ]
    with transaction.atomic(store.alias):
        found = [one.enqueue() for one in calls]
    assert [attempt.created for attempt in found] == [True, False, False]
    assert len({attempt.pk for attempt in found}) == 1


def test_a_batch_with_new_and_taken_tokens_keeps_its_order(store):
    taken = once(store, "taken")
    options = [{}, {"idempotence_token": "taken"}, {"idempotence_token": "new"}, {}]
    found = enqueue_many(
        call(clients.greet, n).using(database=store.alias, **o) for n, o in enumerate(options)
    )
    assert [attempt.created for attempt in found] == [True, False, True, True]
    assert found[1].pk == taken.pk
    assert [row(store, attempt).method_args for attempt in found] == [[0], [0], [2], [3]]
    assert store.attempts.count() == 4


def test_a_taken_token_leaves_the_callers_transaction_usable(store):
    first = once(store)
    with transaction.atomic(store.alias):
        with pytest.raises(DuplicateAttempt, match="'once'"):
            created(store)
        [other] = enqueued(store)
        assert once(store).pk == first.pk
    assert {attempt.pk for attempt in store.attempts.all()} == {first.pk, other.pk}


def test_fifty_at_once_are_one_row(store):
    found = at_once(50, lambda _: once(store))
    assert len({attempt.pk for attempt in found}) == 1
    assert [attempt.created for attempt in found].count(True) == 1
    assert store.attempts.count() == 1


def test_a_caller_waits_for_the_winner_and_gets_its_row(store, sessions):
    winner, loser = sessions(), sessions()
    winner.begin()
    first = winner.do(once, store)
    second = loser.start(once, store)
    wait_until_somebody_waits(store)
    assert not second.done()
    winner.commit()
    found = second.result(PATIENCE)
    assert (found.pk, found.created) == (first.pk, False)


def test_a_caller_whose_winner_rolls_back_wins(store, sessions):
    winner, heir = sessions(), sessions()
    winner.begin()
    first = winner.do(once, store)
    second = heir.start(once, store)
    wait_until_somebody_waits(store)
    winner.rollback()
    found = second.result(PATIENCE)
    assert found.created
    assert found.pk != first.pk
    assert [attempt.pk for attempt in store.attempts.all()] == [found.pk]


def test_of_several_that_wait_for_one_that_rolls_back_one_wins(store, sessions):
    winner, *heirs = [sessions() for _ in range(4)]
    winner.begin()
    winner.do(once, store)
    waiting = [heir.start(once, store) for heir in heirs]
    wait_until_somebody_waits(store, len(heirs))
    winner.rollback()
    found = [future.result(PATIENCE) for future in waiting]
    assert [attempt.created for attempt in found].count(True) == 1
    assert store.attempts.count() == 1


def test_a_caller_with_an_older_snapshot_gets_the_winner_or_may_do_it_again(store, sessions):
    caller = sessions()
    caller.execute(REPEATABLE_READ[store.connection.vendor])
    if store.connection.vendor != "sqlite":
        caller.begin()
        assert caller.do(look_around, store) == 0
        winner = once(store)
        assert caller.do(look_around, store) == 0
    else:
        winner = once(store)
        caller.begin()
    try:
        found = caller.do(once, store)
    except OperationalError:
        # PostgreSQL's own word to a REPEATABLE READ caller; another round sees the winner.
        assert store.connection.vendor == "postgresql"
        caller.rollback()
        found = caller.do(once, store)
    else:
        assert caller.do(partial(enqueued, store))[0].created
        caller.commit()
    assert (found.pk, found.created) == (winner.pk, False)
    assert store.attempts.filter(idempotence_token="once").count() == 1


@pytest.mark.only("mariadb", reason="PostgreSQL ends them all; SQLite has one at a time")
def test_several_callers_with_older_snapshots_all_get_the_winner(store, sessions):
    callers = [sessions() for _ in range(4)]
    for caller in callers:
        caller.execute(REPEATABLE_READ["mysql"])
        caller.begin()
        caller.do(look_around, store)
    winner = sessions()
    winner.begin()
    first = winner.do(once, store)
    waiting = [caller.start(once, store) for caller in callers]
    wait_until_somebody_waits(store, len(callers))
    winner.commit()
    assert {future.result(PATIENCE).pk for future in waiting} == {first.pk}
    for caller in callers:
        caller.commit()


# --- several tokens, several callers


def several(store, keys):
    calls = [
        call(clients.greet, key).using(database=store.alias, idempotence_token=key) for key in keys
    ]
    return enqueue_many(calls)


def many_created(store, keys):
    rows = [
        new_attempt(target=clients.greet, method_args=[key], idempotence_token=key) for key in keys
    ]
    return Attempt.objects.using(store.alias).bulk_create(rows)


row_locks = pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")


@row_locks
@pytest.mark.parametrize("enqueueing", [several, many_created])
def test_callers_of_the_same_tokens_in_another_order_wait_in_no_circle(
    store, sessions, monkeypatch, enqueueing
):
    # Each row by a statement of its own, as on MariaDB.
    monkeypatch.setattr(inserting, "CHUNK_ROWS", 1)
    first, second = sessions(), sessions()
    for session in (first, second):
        session.begin()
    written = first.start_and_stop_after(("INSERT",), enqueueing, store, "abcd")
    waiting = second.start(several, store, "dcba")
    wait_until_somebody_waits(store)
    first.go_on()
    rows = written.result(PATIENCE)
    first.commit()
    found = waiting.result(PATIENCE)
    assert [row.idempotence_token for row in rows] == list("abcd")
    assert [row.idempotence_token for row in found] == list("dcba")
    assert [row.created for row in rows + found] == [True] * 4 + [False] * 4


def held(store, session):
    """Take the token in a transaction that is open until the session ends it."""
    session.begin()
    return session.do(once, store)


def in_block(store, work):
    with transaction.atomic(store.alias):
        return work(store)


@row_locks
def test_of_several_that_wait_with_many_for_one_that_rolls_back_one_wins(store, sessions):
    winner, *others = (sessions() for _ in range(4))
    held(store, winner)
    work = partial(several, keys=["other", "once"])
    waiting = [session.start(in_block, store, work) for session in others]
    wait_until_somebody_waits(store, 3)
    winner.rollback()
    seen = [one.result(PATIENCE) for one in waiting]
    assert sorted(row.created for rows in seen for row in rows) == [False] * 4 + [True] * 2
    assert {row.pk for rows in seen for row in rows} == {row.pk for row in store.attempts.all()}


def after_an_order(store, number):
    with transaction.atomic(store.alias):
        Order.objects.using(store.alias).create(number=number)
        return several(store, ["once"])


def after_a_read(store, number):
    with transaction.atomic(store.alias):
        list(Order.objects.using(store.alias).filter(number=number).select_for_update())
        return several(store, ["once"])


def within_a_savepoint(store, number):
    with transaction.atomic(store.alias):
        Order.objects.using(store.alias).create(number=number)
        return in_block(store, partial(several, keys=["once"]))


def after_a_savepoint(store, number):
    with transaction.atomic(store.alias):
        with transaction.atomic(store.alias):
            Order.objects.using(store.alias).create(number=number)
        return several(store, ["once"])


def after_a_setting(store, number):
    """The driver doesn't know then that something was written before."""
    with transaction.atomic(store.alias), store.connection.cursor() as cursor:
        Order.objects.using(store.alias).create(number=number)
        cursor.execute("SET @something = 1")
        return several(store, ["once"])


@pytest.mark.only("mariadb", reason="a deadlock undoes the whole transaction there")
@pytest.mark.parametrize(
    "work", [after_an_order, after_a_read, after_a_savepoint, after_a_setting, within_a_savepoint]
)
def test_what_the_callers_transaction_has_done_before_is_never_lost(store, sessions, work):
    orders = Order.objects.using(store.alias)
    orders.create(number=-1)
    winner, *others = (sessions() for _ in range(4))
    held(store, winner)
    waiting = [session.start(work, store, n) for n, session in enumerate(others)]
    wait_until_somebody_waits(store, 3)
    winner.rollback()
    errors = [one.exception(PATIENCE) for one in waiting]
    assert sorted(type(error).__name__ for error in errors if error) == ["OperationalError"] * 2
    [[won]] = [one.result() for one in waiting if not one.exception()]
    assert row(store, won).pk == won.pk
    assert orders.count() == 1 + (work is not after_a_read)


def test_after_a_statement_of_the_callers_the_server_is_asked_for_nothing_more(store):
    with transaction.atomic(store.alias):
        Order.objects.using(store.alias).create(number=1)
        with CaptureQueriesContext(store.connection) as queries:
            several(store, "a")
    assert [query["sql"].split()[0] for query in queries] == ["SAVEPOINT", "INSERT", "RELEASE"]
