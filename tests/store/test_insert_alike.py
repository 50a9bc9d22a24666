"""Rows of one template: written once each, whatever happens on the way."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from django.db import OperationalError, transaction

from async_attempts import Arguments, Attempt, InvalidOption, call, enqueue_many
from async_attempts.ids import uuid7s
from async_attempts.models.row_template import template_of
from async_attempts.signals import enqueued
from async_attempts.store.transactions import MYSQL_DEADLOCK
from tests.shop import clients
from tests.shop.unsaved import new_attempt

NUMBERS = [1, 2, 7, 8, 33, 70]
"""Of rows: by one statement, by arrays, with a savepoint, by COPY."""


def new(number: int) -> tuple[list[Any], Any]:
    template: Any = template_of(Attempt, clients.greet)
    return [template.row(key, Arguments(n)) for n, key in enumerate(uuid7s(number))], template


def stored(store: Any) -> list[list[int]]:
    return [row.method_args for row in store.database.attempts.order_by("id")]


@pytest.mark.parametrize("number", NUMBERS)
def test_each_has_its_own_arguments(store, number):
    rows, template = new(number)
    store.attempts.insert_alike(rows, template)
    assert stored(store) == [[n] for n in range(number)]
    assert {row._state.db for row in rows} == {store.database.alias}
    assert all(row.created and not row._state.adding for row in rows)


@pytest.mark.parametrize("number", [33, 70])
def test_a_transaction_that_collides_when_it_commits_is_done_again(store, monkeypatch, number):
    rows, template = new(number)
    connection = store.database.connection
    commit = connection._commit
    failed: list[bool] = []

    def colliding() -> None:
        if failed:
            commit()
            return
        failed.append(True)
        raise OperationalError(MYSQL_DEADLOCK, "deadlock found")

    monkeypatch.setattr(connection, "_commit", colliding)
    store.attempts.insert_alike(rows, template)
    assert failed
    assert stored(store) == [[n] for n in range(number)]
    assert all(row.created and row.status == "pending" for row in rows)


@pytest.mark.parametrize("number", NUMBERS)
def test_rows_that_were_not_written_are_new_again(store, number):
    rows, template = new(number)

    def refuse(**kwargs: Any) -> None:
        raise RuntimeError("not this one")

    enqueued.connect(refuse)
    try:
        with (
            pytest.raises(RuntimeError, match="not this one"),
            transaction.atomic(store.database.alias),
        ):
            store.attempts.insert_alike(rows, template)
    finally:
        enqueued.disconnect(refuse)
    assert stored(store) == []
    assert all(row._state.adding and not row.created for row in rows)
    store.attempts.insert_alike(rows, template)
    assert len(stored(store)) == number


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("in_block", [False, True], ids=["autocommit", "in a block"])
def test_none_is_written_if_a_receiver_raises(store, number, in_block):
    alias = store.database.alias

    def refuse(**kwargs: Any) -> None:
        raise RuntimeError("not this one")

    enqueued.connect(refuse)
    try:
        with transaction.atomic(alias) if in_block else nullcontext():
            for parts in (True, False):
                calls = [call(clients.greet, n).using(database=alias) for n in range(number)]
                with pytest.raises(RuntimeError, match="not this one"):
                    enqueue_many(calls, returning=parts)
    finally:
        enqueued.disconnect(refuse)
    assert stored(store) == []


def test_a_row_is_announced_once_though_a_receiver_collides(store):
    heard = []

    def collide(*, attempt: Any, **kwargs: Any) -> None:
        heard.append(attempt)
        raise OperationalError(MYSQL_DEADLOCK, "deadlock found")

    enqueued.connect(collide)
    try:
        with pytest.raises(OperationalError):
            call(clients.greet, 1).using(database=store.database.alias).enqueue()
    finally:
        enqueued.disconnect(collide)
    assert [row._state.adding for row in heard] == [False]
    assert stored(store) == [[1]]


@pytest.mark.parametrize("options", [{}, {"queue": "emails"}, {"idempotence_token": "once"}])
def test_rows_of_a_transaction_that_was_rolled_back_are_refused(store, options):
    objects = Attempt.objects.using(store.database.alias)
    rows = [new_attempt(target=clients.greet, method_args=[1], **options)]
    with transaction.atomic(store.database.alias):
        objects.bulk_create(rows)
        transaction.set_rollback(True, store.database.alias)
    with pytest.raises(InvalidOption, match="rolled back, make another one"):
        objects.bulk_create(rows)
    assert stored(store) == []


def test_all_go_to_the_database_of_their_calls(database):
    calls = [call(clients.greet, n).using(database=database) for n in range(3)]
    rows = enqueue_many(calls)
    assert {row._state.db for row in rows} == {database}
    assert Attempt.objects.using(database).count() == 3
