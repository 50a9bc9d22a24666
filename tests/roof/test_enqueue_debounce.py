"""The options of debounce and throttle: where they are said, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.db.models.signals import post_save

from async_attempts import Attempt, attemptable, call, enqueue_many, event, on, schedule
from async_attempts.encryption import cipher
from async_attempts.events.listeners import registry
from async_attempts.exceptions import InvalidOption
from async_attempts.signals import enqueued
from tests.shop import clients
from tests.shop.clients import PostedOrder
from tests.shop.models import Order
from tests.shop.paced import recount_stock, reindex
from tests.shop.unsaved import new_attempt

HOUR = timedelta(hours=1)
NEAR = timedelta(minutes=1)


def by_call(database: str, target: Any, number: int, **options: Any) -> Any:
    return call(target, number).using(database=database, **options).enqueue()


def by_async_call(database: str, target: Any, number: int, **options: Any) -> Any:
    return async_to_sync(call(target, number).using(database=database, **options).aenqueue)()


def by_create(database: str, target: Any, number: int, **options: Any) -> Any:
    return Attempt.objects.using(database).create(target=target, method_args=[number], **options)


def by_acreate(database: str, target: Any, number: int, **options: Any) -> Any:
    rows = Attempt.objects.using(database)
    return async_to_sync(rows.acreate)(target=target, method_args=[number], **options)


def among_many(database: str, target: Any, number: int, **options: Any) -> Any:
    return enqueue_many([call(target, number).using(database=database, **options)])[0]


WAYS = [by_call, by_async_call, by_create, by_acreate, among_many]
every_way = pytest.mark.parametrize("way", WAYS)


def rows(database: str) -> Any:
    return Attempt.objects.using(database).order_by("id")


@every_way
@pytest.mark.parametrize("target", [reindex, recount_stock])
def test_what_the_target_says_holds_for_every_way(database: str, way: Any, target: Any):
    found = [way(database, target, number) for number in (1, 2)]
    assert [row.created for row in found] == [True, False]
    [row] = rows(database)
    assert row.method_args == found[1].method_args == [2]
    assert row.status == found[1].status
    assert row.status == ("scheduled" if target is reindex else "pending")
    assert cipher().decrypt(row.args, row.context("args"))


@every_way
def test_what_the_caller_says_wins(database: str, way: Any):
    first = way(database, reindex, 1, debounce=60, max_wait=timedelta(seconds=90))
    assert first.scheduled_at - first.created_at == pytest.approx(timedelta(seconds=60), abs=NEAR)
    throttled = way(database, reindex, 2, throttle=60)
    assert (throttled.created, throttled.status) == (True, "pending")
    assert way(database, reindex, 3, debounce=False).status == "pending"
    assert way(database, recount_stock, 4, throttle=False).created
    assert way(database, recount_stock, 5, throttle=False).created
    assert way(database, recount_stock, 6, debounce=HOUR).status == "scheduled"


def test_a_key_is_compared_as_text(database: str):
    one = UUID(int=1)
    for key, same in [(7, "7"), (one, str(one)), (-1, "-1")]:
        first = by_call(database, reindex, 1, key=key)
        assert first.created
        assert by_call(database, reindex, 2, key=same).pk == first.pk


def test_instances_are_apart(database: str):
    orders = [PostedOrder.objects.using(database).create(number=number) for number in (1, 2)]
    for _ in range(2):
        for order in orders:
            call(order.send_confirmation_email).using(database=database, debounce=HOUR).enqueue()
    assert rows(database).count() == 2


def test_subject_and_expiry_are_the_last_calls(database: str):
    orders = [Order.objects.using(database).create(number=number) for number in (1, 2)]
    for order in orders:
        by_call(database, reindex, 1, subject=order, expires_at=order.number * 10 * HOUR)
    [row] = rows(database)
    assert row.subject == orders[1]
    assert row.expires_at - row.created_at == pytest.approx(20 * HOUR, abs=NEAR)


def test_the_row_that_was_created_can_be_saved_and_used(database: str):
    by_create(database, reindex, 1)
    row = by_create(database, reindex, 2)
    row.priority = 9
    row.save()
    row.expire("no more")
    assert rows(database).get().state == "expired"


def test_who_listens_hears_of_new_rows_only(database: str):
    heard: list[bool] = []

    def hear(created: bool = True, **_: Any) -> None:
        heard.append(created)

    post_save.connect(hear, sender=Attempt)
    enqueued.connect(hear)
    try:
        for number in (1, 2):
            by_call(database, reindex, number)
        assert heard == [True, True]
        by_create(database, reindex, 3)
        assert heard == [True, True, False]
    finally:
        post_save.disconnect(hear, sender=Attempt)
        enqueued.disconnect(hear)


def test_get_or_create_tells_what_was_there(database: str):
    def created(number: int) -> bool:
        defaults: dict[str, Any] = {"method_args": [number]}
        attempts = Attempt.objects.using(database)
        return attempts.get_or_create(target=reindex, priority=number, defaults=defaults)[1]

    assert [created(1), created(2)] == [True, False]
    assert rows(database).get().method_args == [2]


def test_a_listener_may_be_debounced(database: str, monkeypatch: pytest.MonkeyPatch):
    for kept in ("listeners", "by_event"):
        monkeypatch.setattr(registry, kept, {})
    on("product.changed")(reindex)
    changed = event("product.changed", number=1).using(database=database)
    [first] = changed.emit()
    [second] = event("product.changed", number=2).using(database=database).emit()
    assert (second.created, second.pk) == (False, first.pk)
    assert rows(database).get().method_args == {"number": 2}
    with pytest.raises(InvalidOption, match="idempotence_token, debounce"):
        changed.using(idempotence_token="once").emit()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"debounce": 1, "throttle": 1}, "debounce, throttle"),
    ({"debounce": 1, "idempotence_token": "a"}, "idempotence_token, debounce"),
    ({"throttle": 1, "idempotence_token": "a"}, "idempotence_token, throttle"),
    ({"debounce": 1, "scheduled_at": HOUR}, "scheduled_at, debounce"),
    ({"throttle": 1, "scheduled_at": HOUR}, "scheduled_at, throttle"),
    ({"debounce": 0}, "debounce"),
    ({"debounce": -1}, "debounce"),
    ({"debounce": True}, "debounce"),
    ({"debounce": "2"}, "debounce"),
    ({"debounce": {"delay": 2}}, "max_wait, adaptive and key are options of their own"),
    ({"debounce": float("nan")}, "debounce"),
    ({"debounce": timedelta.max}, "debounce"),
    ({"throttle": 0}, "throttle"),
    ({"throttle": 1, "max_wait": 2}, "max_wait: belongs to debounce"),
    ({"throttle": 1, "adaptive": True}, "adaptive: belongs to debounce"),
    ({"max_wait": 2}, "max_wait: belongs to debounce"),
    ({"key": "a"}, "key: belongs to debounce or throttle"),
    ({"debounce": 2, "max_wait": 1}, "max_wait: must be at least debounce"),
    ({"debounce": 2, "adaptive": True}, "adaptive: needs max_wait"),
    ({"debounce": 2, "max_wait": 3, "adaptive": 1}, "adaptive"),
    ({"debounce": 2, "key": ""}, "key"),
    ({"debounce": 2, "key": True}, "key"),
    ({"debounce": 2, "key": 1.5}, "key"),
    ({"debounce": 2, "key": "\ud800"}, "key"),
]


@pytest.mark.parametrize(("options", "words"), REFUSED)
@pytest.mark.parametrize("way", [by_call, by_create, among_many])
def test_what_is_refused_names_the_options(db: None, way: Any, options: Any, words: str):
    with transaction.atomic():
        with pytest.raises(InvalidOption, match=words):
            way("default", clients.greet, 1, **options)
        assert by_call("default", clients.greet, 1).created


def test_a_time_is_refused_beside_what_the_target_says(db: None):
    with pytest.raises(InvalidOption, match=r"scheduled_at, debounce.*debounce=False"):
        schedule(HOUR, reindex, 1)
    later = call(reindex, 1).using(debounce=False, scheduled_at=HOUR).enqueue()
    assert later.status == "scheduled"


def test_bulk_create_and_get_or_create_refuse(db: None):
    with pytest.raises(InvalidOption, match=r"bulk_create: .*debounce.*enqueue_many"):
        Attempt.objects.bulk_create([new_attempt(target=reindex, method_args=[1])])
    untyped: Any = Attempt.objects
    with pytest.raises(InvalidOption, match=r"throttle: not for get_or_create.*create\(\)"):
        untyped.get_or_create(target=clients.greet, throttle=2, defaults={"method_args": [1]})
    assert not Attempt.objects.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"debounce": 1, "throttle": 1}, "debounce, throttle"),
        ({"debounce": 1, "delay": 1}, "delay, debounce"),
        ({"throttle": 1, "delay": 1}, "delay, throttle"),
        ({"debounce": 0}, "debounce"),
        ({"throttle": "1"}, "throttle"),
        ({"max_wait": 1}, "max_wait: belongs to debounce"),
        ({"debounce": 3, "max_wait": 1}, "max_wait: must be at least"),
        ({"debounce": 3, "adaptive": True}, "adaptive: needs max_wait"),
        ({"debounce": 3, "max_wait": 5, "adaptive": 1}, "adaptive"),
    ],
)
def test_what_a_target_may_not_say(options: Any, words: str):
    with pytest.raises(InvalidOption, match=words):
        attemptable(**options)
