"""Idempotence tokens: one attempt for each target, primary key, method and token."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction
from django.test.utils import CaptureQueriesContext

from async_attempts import Attempt, DuplicateAttempt, call
from async_attempts.calls import enqueue_many
from tests.shop import clients
from tests.shop.clients import ExpressClient, OrderClient, PostedOrder
from tests.shop.unsaved import new_attempt

DEFAULTS: Any = {"method_args": [1]}


def greet(database: str, token: str | None, number: int = 1) -> Any:
    return call(clients.greet, number).using(database=database, idempotence_token=token)


def unsaved(token: str | None, number: int = 1) -> Any:
    return new_attempt(target=clients.greet, method_args=[number], idempotence_token=token)


def count(database: str) -> int:
    return Attempt.objects.using(database).count()


def test_enqueue_returns_the_row_that_is_there(database: str):
    first = greet(database, "a").using(priority=3).enqueue()
    again = greet(database, "a", number=2).using(priority=4).enqueue()
    assert (first.created, again.created) == (True, False)
    assert (again.pk, again.method_args, again.priority) == (first.pk, [1], 3)
    assert count(database) == 1


def test_create_raises_an_integrity_error_that_names_the_token(database: str):
    with transaction.atomic(database):
        greet(database, "a").enqueue()
        with pytest.raises(DuplicateAttempt, match="'a'") as raised:
            Attempt.objects.using(database).create(
                target=clients.greet, method_args=[2], idempotence_token="a"
            )
        # The transaction goes on without a savepoint.
        greet(database, "b").enqueue()
    assert isinstance(raised.value, IntegrityError)
    assert count(database) == 2


def test_without_a_token_nothing_is_a_duplicate(database: str):
    for _ in range(3):
        assert greet(database, None).enqueue().created
    assert count(database) == 3


@pytest.mark.parametrize("other", ["A", "a ", " a", "á", "a\u0301", "\uff41", "aa", "a'", "ß"])
def test_tokens_are_the_same_to_the_letter_only(database: str, other: str):
    first = greet(database, "a").enqueue()
    second = greet(database, other).enqueue()
    third = Attempt.objects.using(database).create(
        target=clients.send_welcome, method_args=[1], idempotence_token=other
    )
    assert second.created
    assert len({first.pk, second.pk, third.pk}) == count(database) == 3
    assert greet(database, other).enqueue().pk == second.pk
    found, created = Attempt.objects.using(database).get_or_create(
        target=clients.greet, idempotence_token=other, defaults=DEFAULTS
    )
    assert (found.pk, created) == (second.pk, False)


def test_get_or_create_takes_no_other_token_for_its_own(database: str):
    first = greet(database, "a").enqueue()
    for token in ("A", "a "):
        row, created = Attempt.objects.using(database).get_or_create(
            target=clients.greet, idempotence_token=token, defaults=DEFAULTS
        )
        assert created
        assert row.pk != first.pk


def test_a_token_of_200_characters_of_any_script(database: str):
    token = "🦉" * 200
    first = greet(database, token).enqueue()
    assert Attempt.objects.using(database).get().idempotence_token == token
    assert greet(database, token).enqueue().pk == first.pk


def test_the_target_its_primary_key_and_the_method_are_part_of_it(database: str):
    orders = [PostedOrder.objects.using(database).create(number=number) for number in (1, 2)]
    calls = [
        call(clients.greet, 1),
        call(clients.send_welcome, 1),
        call(OrderClient.describe, 1),
        call(ExpressClient.describe, 1),
        call(OrderClient.cancel, 1),
        *(call(order.send_confirmation_email) for order in orders),
    ]
    for _ in range(2):
        for one in calls:
            one.using(database=database, idempotence_token="a").enqueue()
    assert count(database) == len(calls)


def test_an_old_name_of_the_target_does_not_open_a_second_place(database: str):
    first = greet(database, "a").enqueue()
    old_name: Any = "tests.shop.before.greet"
    again = call(old_name, 1).using(database=database, idempotence_token="a").enqueue()
    assert again.pk == first.pk


@pytest.mark.parametrize("verb", ["perform", "expire", "fail"])
def test_a_token_is_taken_as_long_as_the_row_is_kept(database: str, verb: str):
    first = greet(database, "a").enqueue()
    getattr(first, verb)()
    again = greet(database, "a").enqueue()
    assert (again.pk, again.created, again.state) == (first.pk, False, first.state)
    first.delete()
    assert greet(database, "a").enqueue().created


def test_a_token_that_was_rolled_back_is_free(database: str):
    with transaction.atomic(database):
        greet(database, "a").enqueue()
        transaction.set_rollback(True, using=database)
    assert greet(database, "a").enqueue().created


def test_bulk_create_writes_none_when_one_is_taken(database: str):
    greet(database, "taken").enqueue()
    with transaction.atomic(database):
        greet(database, "before").enqueue()
        with pytest.raises(DuplicateAttempt, match="'taken'"):
            Attempt.objects.using(database).bulk_create(
                [unsaved("new"), unsaved(None), unsaved("taken"), unsaved("other")]
            )
        greet(database, "after").enqueue()
    tokens = (
        Attempt.objects.using(database).order_by("id").values_list("idempotence_token", flat=True)
    )
    assert [*tokens] == ["taken", "before", "after"]


def test_bulk_create_writes_none_when_two_have_the_same_token(database: str):
    rows = [unsaved("new"), unsaved("twice", 1), unsaved("twice", 2)]
    for _ in range(2):
        with pytest.raises(DuplicateAttempt, match="'twice'"):
            Attempt.objects.using(database).bulk_create(rows)
        assert count(database) == 0
    rows[2].idempotence_token = "once"
    Attempt.objects.using(database).bulk_create(rows)
    assert count(database) == 3


def test_enqueue_many_mixes_new_rows_with_those_that_are_there_in_order(database: str):
    there = [greet(database, token, 9).enqueue() for token in ("a", "b")]
    rows = enqueue_many(
        [
            greet(database, None, 0),
            greet(database, "b", 1),
            greet(database, "c", 2),
            greet(database, "a", 3),
            greet(database, "c", 4),
            greet(database, None, 5),
        ]
    )
    assert [row.created for row in rows] == [True, False, True, False, False, True]
    assert [row.method_args for row in rows] == [[0], [9], [2], [9], [2], [5]]
    assert (rows[1].pk, rows[3].pk, rows[4].pk) == (there[1].pk, there[0].pk, rows[2].pk)
    assert count(database) == 5


def test_enqueueing_without_savepoints_is_one_statement(database: str):
    with (
        transaction.atomic(database),
        CaptureQueriesContext(connections[database]) as queries,
    ):
        greet(database, "a").enqueue()
        greet(database, None).enqueue()
    assert [query["sql"].split()[0] for query in queries.captured_queries] == ["INSERT"] * 2


def test_many_threads_with_one_token_make_one_row(database: str):
    start = threading.Barrier(10)

    def enqueue(number: int) -> tuple[Any, bool]:
        try:
            start.wait(timeout=30)
            with transaction.atomic(database):
                row = greet(database, "a", number).enqueue()
                return row.pk, row.created
        finally:
            connections[database].close()

    with ThreadPoolExecutor(10) as threads:
        rows = list(threads.map(enqueue, range(10)))
    assert len({pk for pk, _ in rows}) == count(database) == 1
    assert sorted(created for _, created in rows) == [False] * 9 + [True]


@pytest.mark.only("postgresql", "mariadb", reason="on SQLite only one transaction writes at a time")
@pytest.mark.parametrize("commits", [True, False])
def test_a_second_caller_waits_for_the_first_ones_transaction(database: str, commits: bool):
    written, done = threading.Event(), threading.Event()

    def first() -> Any:
        try:
            with transaction.atomic(database):
                row = greet(database, "a", 1).enqueue()
                written.set()
                assert not done.wait(timeout=0.3), "the second caller didn't wait"
                transaction.set_rollback(not commits, using=database)
                return row.pk
        finally:
            connections[database].close()

    with ThreadPoolExecutor(1) as thread:
        other = thread.submit(first)
        assert written.wait(timeout=30)
        with transaction.atomic(database):
            row = greet(database, "a", 2).enqueue()
            done.set()
        assert row.created is not commits
        assert (row.pk == other.result(timeout=30)) is commits
    assert [r.method_args for r in Attempt.objects.using(database)] == [[1] if commits else [2]]
