"""Idempotence tokens: at most one attempt, whoever comes when."""

from __future__ import annotations

from functools import partial

import pytest
from django.db import OperationalError, transaction

from async_attempts import Attempt, DuplicateAttempt, call
from async_attempts.api import enqueue_many
from tests.shop import clients

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
