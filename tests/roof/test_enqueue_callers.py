"""Those who enqueue: transactions, savepoints, tests, async views, threads; and who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.models.signals import post_save, pre_save
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, TestCase, override_settings
from django.urls import path

from async_attempts import Attempt, aenqueue, call, enqueue, signals
from async_attempts.calls import enqueue_many
from tests.shop import clients
from tests.shop.models import Order
from tests.shop.unsaved import new_attempt


def greet(database: str, **options: Any) -> Any:
    return call(clients.greet, 1).using(database=database, **options)


async def order_view(request: HttpRequest) -> HttpResponse:
    row = await aenqueue(clients.greet, 1)
    return HttpResponse(str(row.pk))


urlpatterns = [path("order/", order_view)]


@contextmanager
def abandoned(database: str) -> Iterator[None]:
    """An atomic block that ends by an exception."""
    with suppress(ZeroDivisionError), transaction.atomic(database):
        yield
        raise ZeroDivisionError


WAYS: dict[str, Callable[[str], Any]] = {
    "enqueue": lambda database: greet(database).enqueue(),
    "enqueue_many": lambda database: enqueue_many([greet(database), greet(database)]),
    "create": lambda database: Attempt.objects.using(database).create(
        target=clients.greet, method_args=[1]
    ),
    "bulk_create": lambda database: Attempt.objects.using(database).bulk_create(
        [new_attempt(target=clients.greet, method_args=[n]) for n in range(600)]
    ),
}
every_way = pytest.mark.parametrize("way", WAYS)


@every_way
def test_a_rolled_back_transaction_leaves_nothing(database: str, way: str):
    with abandoned(database):
        Order.objects.using(database).create(number=1)
        WAYS[way](database)
    assert not Attempt.objects.using(database).exists()
    assert not Order.objects.using(database).exists()


@every_way
def test_a_rolled_back_savepoint_leaves_nothing_of_its_own(database: str, way: str):
    with transaction.atomic(database):
        kept = greet(database).enqueue()
        with abandoned(database):
            WAYS[way](database)
    assert [*Attempt.objects.using(database)] == [kept]


@every_way
def test_it_is_not_seen_by_others_before_the_commit(database: str, way: str):
    def seen_by_another() -> bool:
        try:
            return Attempt.objects.using(database).exists()
        finally:
            connections[database].close()

    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic(database):
            WAYS[way](database)
            assert not thread.submit(seen_by_another).result(timeout=30)
        assert thread.submit(seen_by_another).result(timeout=30)


def test_a_caller_that_writes_nothing_else(database: str):
    with transaction.atomic(database):
        greet(database).enqueue()
    greet(database).enqueue()
    assert Attempt.objects.using(database).pending().count() == 2


def test_threads_enqueue_each_in_its_own_transaction(database: str):
    def place(number: int) -> None:
        try:
            with transaction.atomic(database):
                order = Order.objects.using(database).create(number=number)
                greet(database, subject=order).enqueue()
                transaction.set_rollback(number % 2 == 1, using=database)
        finally:
            connections[database].close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(place, range(8)))
    orders = {str(pk) for pk in Order.objects.using(database).values_list("pk", flat=True)}
    about = Attempt.objects.using(database).values_list("subject_id", flat=True)
    assert len(orders) == 4
    assert len(about) == 4
    assert {*about} == orders


class InTestCase(TestCase):
    def test_it_is_written_and_performed_within_the_tests_transaction(self):
        with transaction.atomic():
            row = enqueue(clients.greet, 1)
        assert row.state == "pending"
        row.perform()
        assert row.state == "succeeded"

    def test_nothing_of_it_is_left(self):
        assert not Attempt.objects.exists()
        enqueue(clients.greet, 1)

    def test_nothing_of_it_is_left_either_way(self):
        assert not Attempt.objects.exists()
        enqueue(clients.greet, 1)

    async def test_async_code_enqueues_too(self):
        row = await aenqueue(clients.send_later, 1)
        assert await Attempt.objects.filter(pk=row.pk).aexists()


@pytest.mark.django_db(transaction=True)
@override_settings(ROOT_URLCONF=__name__)
def test_an_async_view_enqueues():
    response = asyncio.run(_get("/order/"))
    assert response == str(Attempt.objects.get().pk)


async def _get(url: str) -> str:
    response = await AsyncClient().get(url)
    return response.content.decode()


@pytest.mark.django_db(transaction=True)
def test_async_code_enqueues_in_a_transaction_by_way_of_a_sync_function():
    @sync_to_async
    def place(fails: bool) -> None:
        with transaction.atomic():
            enqueue(clients.greet, 1)
            if fails:
                raise ZeroDivisionError

    async def place_two() -> None:
        await place(fails=False)
        with pytest.raises(ZeroDivisionError):
            await place(fails=True)

    asyncio.run(place_two())
    assert Attempt.objects.count() == 1


@contextmanager
def listening(signal: Signal, **options: Any) -> Iterator[list[dict[str, Any]]]:
    heard: list[dict[str, Any]] = []

    def hear(**kwargs: Any) -> None:
        heard.append(kwargs)

    signal.connect(hear, **options)
    try:
        yield heard
    finally:
        signal.disconnect(hear, **options)


@pytest.mark.parametrize("way", ["enqueue", "create"])
def test_djangos_save_signals_are_sent_to_those_who_listen(database: str, way: str):
    with (
        listening(pre_save, sender=Attempt) as before,
        listening(post_save, sender=Attempt) as after,
    ):
        row = WAYS[way](database)
    assert [heard["instance"].pk for heard in (*before, *after)] == [row.pk] * 2
    assert {heard["using"] for heard in (*before, *after)} == {database}
    assert (after[0]["created"], after[0]["raw"], after[0]["update_fields"]) == (True, False, None)


def test_a_listener_of_pre_save_may_still_choose_options(database: str):
    def later(instance: Any, **kwargs: Any) -> None:
        instance.priority = 42

    pre_save.connect(later, sender=Attempt)
    try:
        assert greet(database).enqueue().priority == 42
    finally:
        pre_save.disconnect(later, sender=Attempt)
    assert Attempt.objects.using(database).get().priority == 42


def test_a_row_that_is_there_already_was_not_saved(database: str):
    greet(database, idempotence_token="a").enqueue()
    with listening(post_save, sender=Attempt) as saved, listening(signals.enqueued) as enqueued:
        greet(database, idempotence_token="a").enqueue()
    assert not saved
    assert not enqueued


def test_saving_again_tells_that_it_was_not_created(database: str):
    row = greet(database).enqueue()
    with listening(post_save, sender=Attempt) as heard:
        row.priority = 5
        row.save()
    assert [(h["created"], h["using"]) for h in heard] == [(False, database)]


@pytest.mark.parametrize(("way", "number"), [("enqueue", 1), ("enqueue_many", 2), ("create", 1)])
def test_enqueued_is_sent_for_each_row_within_the_transaction(database: str, way: str, number: int):
    with listening(signals.enqueued, sender=Attempt) as heard, transaction.atomic(database):
        WAYS[way](database)
        assert len(heard) == number
    rows = {*Attempt.objects.using(database)}
    assert {h["attempt"] for h in heard} == rows


def test_what_a_listener_raises_is_the_callers_and_undoes_nothing_by_itself(database: str):
    def refuse(**kwargs: Any) -> None:
        raise ZeroDivisionError

    signals.enqueued.connect(refuse)
    try:
        with pytest.raises(ZeroDivisionError), transaction.atomic(database):
            greet(database).enqueue()
    finally:
        signals.enqueued.disconnect(refuse)
    assert not Attempt.objects.using(database).exists()
