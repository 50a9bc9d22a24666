"""With a router that reads from replicas, rows are written and read back where it writes them.

Reported of others as Koed00/django-q issue 558 and celery/django-celery-results issue 357: they
wrote to the alias that a query had chosen for reading.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from async_attempts import Attempt, call, enqueue, gather, schedule
from async_attempts.calls import enqueue_many
from tests.shop import clients
from tests.shop.models import Order

NO_DATABASE = "replica"
"""An alias that isn't there: what is read from it, or written to it, fails."""


class ReadsFromReplica:
    """As Django's documentation has it."""

    def __init__(self, primary: str) -> None:
        self._primary = primary

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return NO_DATABASE

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return self._primary


@pytest.fixture
def primary(database: str, settings: Any) -> str:
    """The database, with a router that never reads there."""
    settings.DATABASE_ROUTERS = [ReadsFromReplica(database)]
    return database


def from_replica(attempt: Attempt) -> Attempt:
    """The row as the replica would have it."""
    row: Attempt = Attempt.objects.using(attempt._state.db).get(pk=attempt.pk)
    row._state.db = NO_DATABASE
    return row


def now(attempt: Attempt, primary: str) -> Attempt:
    row: Attempt = Attempt.objects.using(primary).get(pk=attempt.pk)
    return row


VERBS: dict[str, tuple[str, str]] = {
    "expire": ("scheduled", "expired"),
    "fail": ("scheduled", "failed"),
    "request_cancel": ("scheduled", "expired"),
    "retry": ("failed", "pending"),
    "perform": ("pending", "succeeded"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_of_a_row_goes_to_where_it_is_written(primary: str, verb: str):
    before, after = VERBS[verb]
    delay = timedelta(days=1) if before == "scheduled" else timedelta()
    attempt = schedule(delay, clients.greet, 1)
    if before == "failed":
        Attempt.objects.filter(pk=attempt.pk).fail()
    row = from_replica(attempt)
    getattr(row, verb)()
    assert (row.status, now(attempt, primary).status) == (after, after)


@pytest.mark.parametrize("verb", ["expire", "fail", "request_cancel", "retry"])
def test_a_verb_of_many_rows_goes_there_too(primary: str, verb: str):
    attempt = schedule(timedelta(days=1), clients.greet, 1)
    if verb == "retry":
        Attempt.objects.all().expire()
    assert getattr(Attempt.objects.filter(queue="default"), verb)().changed == 1
    assert now(attempt, primary).status == VERBS[verb][1]
    assert not getattr(Attempt.objects.order_by("pk")[:1], verb)().changed


def test_edited_columns_are_saved_there(primary: str):
    attempt = schedule(timedelta(days=1), clients.greet, 1)
    row = from_replica(attempt)
    row.priority = 50
    row.save()
    assert now(attempt, primary).priority == 50


def test_a_row_is_read_again_from_there(primary: str):
    attempt = schedule(timedelta(days=1), clients.greet, 1)
    row = from_replica(attempt)
    Attempt.objects.filter(pk=attempt.pk).expire("because")
    row.refresh_from_db()
    assert row.reason == "because"


async def _created_by_async_code() -> Attempt:
    row: Attempt = await Attempt.objects.acreate(target=clients.greet, method_args=[1])
    return row


WAYS: dict[str, Callable[[], Attempt]] = {
    "enqueue": lambda: enqueue(clients.greet, 1),
    "enqueue_many": lambda: enqueue_many([call(clients.greet, n) for n in range(3)])[-1],
    "schedule": lambda: schedule(timedelta(days=1), clients.greet, 1),
    "create": lambda: Attempt.objects.create(target=clients.greet, method_args=[1]),
    "acreate": async_to_sync(_created_by_async_code),
    "flow": lambda: call(clients.greet, 1).then(clients.greet).enqueue(),
    "token": lambda: call(clients.greet, 1).using(idempotence_token="t").enqueue(),
    "debounce": lambda: call(clients.greet, 1).using(debounce=5, key="k").enqueue(),
    "throttle": lambda: call(clients.greet, 1).using(throttle=5, key="k").enqueue(),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_the_open_transaction_has_written_is_there(primary: str, way: str):
    with transaction.atomic(primary):
        for _ in range(2):
            row = WAYS[way]()
            assert row.scheduled_at is not None
            assert row.status is not None
            row.refresh_from_db()
            assert row._state.db == primary


def test_the_one_that_has_the_token_is_got_or_created_there(primary: str):
    given = {"target": clients.greet, "method_args": [1], "idempotence_token": "t"}
    with transaction.atomic(primary):
        seen = [Attempt.objects.get_or_create(defaults=given, queue="default") for _ in range(2)]
    assert [created for _, created in seen] == [True, False]


def test_who_waits_looks_there(primary: str):
    attempt = call(clients.greet, 1).using(keep_result=True).enqueue()
    enqueued = now(attempt, primary)
    enqueued.perform()
    row = from_replica(attempt)
    assert row.result(timeout=5) == "hello, 1"
    assert async_to_sync(row.aresult)(timeout=5) == "hello, 1"
    assert gather(row, timeout=5) == ["hello, 1"]

    async def last() -> str:
        async for progress in row.watch(timeout=5):
            state = progress.state
        return state

    assert async_to_sync(last)() == "succeeded"


def test_the_subject_is_read_there(primary: str):
    order = Order.objects.create(number=7)
    attempt = call(clients.greet, 1).using(subject=order).enqueue()
    assert from_replica(attempt).subject == order


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
@pytest.mark.parametrize("way", ["enqueued", "found by its token"])
def test_what_was_enqueued_elsewhere_is_changed_there(way: str, settings: Any):
    settings.DATABASE_ROUTERS = [ReadsFromReplica("default")]
    there = call(clients.greet, 1).using(database="postgresql", idempotence_token="t")
    row = there.enqueue()
    if way != "enqueued":
        row = there.enqueue()
        assert not row.created
    row.expire()
    row.retry()
    row.priority = 7
    row.save()
    row.refresh_from_db()
    assert (row.status, row.priority) == ("pending", 7)
    assert not Attempt.objects.using("default").exists()


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
def test_without_a_router_a_row_is_changed_where_it_was_read():
    attempt = call(clients.greet, 1).using(database="postgresql").enqueue()
    row = Attempt.objects.using("postgresql").get(pk=attempt.pk)
    row.expire()
    assert row.status == "expired"


def test_a_copy_of_a_row_of_a_replica_is_written_there(primary: str):
    row = from_replica(enqueue(clients.greet, 1))
    row.pk, row._state.adding = type(row)().pk, True
    row.method_args = [2]
    row.save()
    assert Attempt.objects.using(primary).count() == 2
