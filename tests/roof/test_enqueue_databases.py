"""Which database an attempt goes to, and the transaction that must be that database's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.test import TestCase

from async_attempts import Attempt, InvalidOption, Schedule, WrongTransaction, call, enqueue
from async_attempts.calls import enqueue_many
from tests.shop import clients
from tests.shop.models import Order
from tests.shop.unsaved import new_attempt

TWO = ["default", "postgresql"]
on_two_databases = pytest.mark.django_db(transaction=True, databases=TWO)


class ToPostgreSQL:
    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "postgresql" if model is Attempt else None

    db_for_read = db_for_write


class ByArgument:
    """Keeps each customer's attempts on one of two databases."""

    def db_for_write(self, model: Any, instance: Any = None, **hints: Any) -> str | None:
        return None if instance is None else TWO[instance.method_args[0] % 2]


WAYS: dict[str, Callable[..., Any]] = {
    "call": lambda **options: call(clients.greet, 1).using(**options).enqueue(),
    "enqueue_many": lambda **options: enqueue_many([call(clients.greet, 1).using(**options)]),
    "create": lambda **options: Attempt.objects.create(
        target=clients.greet, method_args=[1], **options
    ),
    "get_or_create": lambda **options: Attempt.objects.get_or_create(
        target=clients.OrderClient.name_class, **options
    ),
    "bulk_create": lambda database=None: Attempt.objects.using(database).bulk_create(
        [new_attempt(target=clients.greet, method_args=[1])]
    ),
    "save": lambda database=None: new_attempt(target=clients.greet, method_args=[1]).save(
        using=database
    ),
}
every_way = pytest.mark.parametrize("way", WAYS)


def counts() -> dict[str, int]:
    return {alias: Attempt.objects.using(alias).count() for alias in TWO}


@on_two_databases
@every_way
def test_without_a_router_it_is_the_default(way: str):
    WAYS[way]()
    assert counts() == {"default": 1, "postgresql": 0}


@on_two_databases
@every_way
def test_a_router_has_its_say(way: str, settings: Any):
    settings.DATABASE_ROUTERS = [ToPostgreSQL()]
    WAYS[way]()
    assert counts() == {"default": 0, "postgresql": 1}


@on_two_databases
def test_a_router_may_tell_rows_apart(settings: Any):
    settings.DATABASE_ROUTERS = [ByArgument()]
    rows = enqueue_many([call(clients.greet, number) for number in range(5)])
    assert [row._state.db for row in rows] == [TWO[number % 2] for number in range(5)]
    assert counts() == {"default": 3, "postgresql": 2}
    with pytest.raises(InvalidOption, match="goes to 'postgresql', and the first call to 'def"):
        enqueue_many((call(clients.greet, number) for number in range(5)), returning=False)
    assert counts() == {"default": 3, "postgresql": 2}


@on_two_databases
@every_way
def test_the_caller_has_the_last_word(way: str, settings: Any):
    settings.DATABASE_ROUTERS = [ToPostgreSQL()]
    WAYS[way](database="default")
    assert counts() == {"default": 1, "postgresql": 0}


@on_two_databases
@every_way
@pytest.mark.parametrize(("open_on", "goes_to"), [TWO, TWO[::-1]])
def test_only_anothers_transaction_is_the_wrong_one(way: str, open_on: str, goes_to: str):
    with transaction.atomic(open_on):
        Order.objects.using(open_on).create(number=1)
        with pytest.raises(WrongTransaction, match=rf"'{goes_to}'.*'{open_on}'.*allow_autocommit"):
            WAYS[way](database=goes_to)
    assert counts() == {"default": 0, "postgresql": 0}
    assert Order.objects.using(open_on).exists()


@on_two_databases
def test_nor_is_a_schedule_written_beside_anothers_transaction():
    given = {"every": 60, "target": clients.greet, "method_args": [1]}
    schedule = Schedule.objects.create(**given)
    rows = Schedule.objects.using("default")
    with transaction.atomic("postgresql"):
        for write in (lambda: rows.create(**given), lambda: schedule.update(every=90)):
            with pytest.raises(WrongTransaction, match=r"'default'.*objects.using"):
                write()
    assert rows.get().every == timedelta(seconds=60)


@on_two_databases
@pytest.mark.parametrize("way", ["call", "enqueue_many", "create", "get_or_create"])
def test_the_caller_may_allow_it(way: str):
    with transaction.atomic("default"):
        WAYS[way](database="postgresql", allow_autocommit=True)
        transaction.set_rollback(True, using="default")
    assert counts() == {"default": 0, "postgresql": 1}


@on_two_databases
@every_way
def test_beside_its_own_transaction_anothers_may_be_open(way: str):
    with ExitStack() as blocks:
        for alias in TWO:
            blocks.enter_context(transaction.atomic(alias))
        WAYS[way](database="postgresql")
    assert counts() == {"default": 0, "postgresql": 1}


@on_two_databases
@every_way
def test_outside_of_any_transaction_it_is_written_at_once(way: str):
    WAYS[way](database="postgresql")
    assert counts() == {"default": 0, "postgresql": 1}


@on_two_databases
def test_many_calls_go_each_to_its_own_database_and_come_back_in_order():
    rows = enqueue_many(
        call(clients.greet, n).using(database=TWO[n % 2], idempotence_token=str(n // 4))
        for n in range(6)
    )
    assert [row._state.db for row in rows] == TWO * 3
    assert [row.method_args for row in rows] == [[0], [1], [0], [1], [4], [5]]


@on_two_databases
def test_a_row_stays_with_its_database():
    row = call(clients.greet, 1).using(database="postgresql").enqueue()
    row.priority = 5
    row.save()
    row.perform()
    stored = Attempt.objects.using("postgresql").get()
    assert (stored.priority, stored.state) == (5, "succeeded")


class InTestCases(TestCase):
    databases = {*TWO}  # noqa: RUF012 as Django has it

    def test_a_testcases_own_blocks_are_nobodys_transaction(self):
        assert enqueue(clients.greet, 1).created
        assert call(clients.greet, 1).using(database="postgresql").enqueue().created

    def test_a_block_of_the_tested_code_is_the_wrong_one_there_too(self):
        with transaction.atomic("default"), pytest.raises(WrongTransaction):
            call(clients.greet, 1).using(database="postgresql").enqueue()
        with transaction.atomic("postgresql"):
            assert call(clients.greet, 1).using(database="postgresql").enqueue().created
