"""Every way to enqueue writes the same row, whatever kind of target it is for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.utils import timezone

from async_attempts import Arguments, Attempt, DuplicateAttempt, call
from async_attempts.calls import enqueue_many
from tests.shop import clients
from tests.shop.clients import ExpressClient, OrderClient, Parcel, PostedOrder
from tests.shop.unsaved import new_attempt

ARGUMENTS: Any = {"customer_token": "t", "order_number": 1}
DEFAULTS: Any = {"method_args": ARGUMENTS}
MODULE = "tests.shop.clients"
COLUMNS = [
    field.attname
    for field in Attempt._meta.concrete_fields
    if field.attname not in {"id", "args", "scheduled_at", "created_at"}
]


def bulk_created(database: str) -> Any:
    (row,) = Attempt.objects.using(database).bulk_create(
        [new_attempt(target=OrderClient, method_name="fulfill", method_args=ARGUMENTS)]
    )
    return row


def saved(database: str) -> Any:
    row = new_attempt(target=OrderClient.fulfill, method_args=Arguments(**ARGUMENTS))
    row.save(using=database)
    return row


WAYS: dict[str, Callable[[str], Any]] = {
    "create": lambda database: Attempt.objects.create(
        database=database, target=OrderClient, method_name="fulfill", method_args=ARGUMENTS
    ),
    "create on using": lambda database: Attempt.objects.using(database).create(
        target=f"{MODULE}.OrderClient.fulfill", method_args=ARGUMENTS
    ),
    "acreate": lambda database: async_to_sync(Attempt.objects.using(database).acreate)(
        target=OrderClient.fulfill, method_args=ARGUMENTS
    ),
    "get_or_create": lambda database: Attempt.objects.using(database).get_or_create(
        target=OrderClient.fulfill, defaults=DEFAULTS
    )[0],
    "save": saved,
    "bulk_create": bulk_created,
    "abulk_create": lambda database: async_to_sync(Attempt.objects.using(database).abulk_create)(
        [new_attempt(target=OrderClient.fulfill, method_args=ARGUMENTS)]
    )[0],
    "call": lambda database: (
        call(OrderClient.fulfill, **ARGUMENTS).using(database=database).enqueue()
    ),
    "call, async": lambda database: async_to_sync(
        call(OrderClient.fulfill, **ARGUMENTS).using(database=database).aenqueue
    )(),
    "enqueue_many": lambda database: enqueue_many(
        [call(OrderClient.fulfill, **ARGUMENTS).using(database=database)]
    )[0],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_writes_the_same_row(database: str, way: str):
    before = timezone.now()
    written = WAYS[way](database)
    assert written.created
    row = Attempt.objects.using(database).get()
    assert (row.pk, row.target, row.target_pk, row.method_name) == (
        written.pk,
        f"{MODULE}.OrderClient",
        None,
        "fulfill",
    )
    assert row.method_args == ARGUMENTS
    assert (row.queue, row.priority, row.state, row.keep_result) == (
        "fulfilment",
        0,
        "pending",
        False,
    )
    assert (row.num_attempts, row.claim_seq, row.claimed_by, row.metadata) == (0, 0, None, {})
    # The database's clock, which may run a little apart from this process's.
    assert abs(row.scheduled_at - before) < timedelta(minutes=1)
    assert abs(row.created_at - before) < timedelta(minutes=1)
    assert {c: getattr(written, c) for c in COLUMNS} == {c: getattr(row, c) for c in COLUMNS}
    assert (written.scheduled_at, written.created_at) == (row.scheduled_at, row.created_at)


@pytest.mark.parametrize("way", WAYS)
def test_what_was_written_is_performed(database: str, way: str):
    row = WAYS[way](database)
    row.perform()
    assert (row.state, row.num_attempts) == ("succeeded", 1)


@pytest.mark.parametrize("surface", ["enqueue", "aenqueue", "schedule"])
def test_the_functions_write_to_the_default_database(db: None, surface: str):
    import async_attempts

    enqueue = getattr(async_attempts, surface)
    if surface == "aenqueue":
        enqueue = async_to_sync(enqueue)
    first = (timedelta(days=2),) if surface == "schedule" else ()
    row = enqueue(*first, OrderClient.fulfill, **ARGUMENTS)
    assert row._state.db == "default"
    assert Attempt.objects.get().method_args == ARGUMENTS
    assert row.status == ("scheduled" if surface == "schedule" else "pending")


def order(database: str) -> PostedOrder:
    return PostedOrder.objects.using(database).create(number=5)


def parcel(database: str) -> Parcel:
    made = Parcel(order_number=7, position="a")
    made.save(using=database)
    return made


TARGETS: dict[str, tuple[Callable[[str], dict[str, Any]], tuple[str, str]]] = {
    "function": (lambda _: {"target": clients.send_welcome}, (MODULE, "send_welcome")),
    "function by name": (
        lambda _: {"target": f"{MODULE}.send_welcome"},
        (MODULE, "send_welcome"),
    ),
    "module": (
        lambda _: {"target": sys.modules[MODULE], "method_name": "send_welcome"},
        (MODULE, "send_welcome"),
    ),
    "module by name": (
        lambda _: {"target": MODULE, "method_name": "send_welcome"},
        (MODULE, "send_welcome"),
    ),
    "coroutine function": (lambda _: {"target": clients.send_later}, (MODULE, "send_later")),
    "wrapped function": (lambda _: {"target": clients.shout}, (MODULE, "shout")),
    "class": (
        lambda _: {"target": OrderClient, "method_name": "cancel"},
        (f"{MODULE}.OrderClient", "cancel"),
    ),
    "class by name": (
        lambda _: {"target": f"{MODULE}.OrderClient", "method_name": "cancel"},
        (f"{MODULE}.OrderClient", "cancel"),
    ),
    "static method": (
        lambda _: {"target": OrderClient.cancel},
        (f"{MODULE}.OrderClient", "cancel"),
    ),
    "async static method": (
        lambda _: {"target": OrderClient.track},
        (f"{MODULE}.OrderClient", "track"),
    ),
    "class method": (
        lambda _: {"target": OrderClient.describe},
        (f"{MODULE}.OrderClient", "describe"),
    ),
    "inherited class method": (
        lambda _: {"target": ExpressClient.describe},
        (f"{MODULE}.ExpressClient", "describe"),
    ),
    "nested class": (
        lambda _: {"target": OrderClient.Returns.accept},
        (f"{MODULE}.OrderClient.Returns", "accept"),
    ),
    "static method of a model": (
        lambda _: {"target": PostedOrder.count_up},
        (f"{MODULE}.PostedOrder", "count_up"),
    ),
    "bound method of an instance": (
        lambda database: {"target": order(database).send_confirmation_email},
        (f"{MODULE}.PostedOrder", "send_confirmation_email"),
    ),
    "instance": (
        lambda database: {
            "target": order(database),
            "method_name": "send_confirmation_email",
        },
        (f"{MODULE}.PostedOrder", "send_confirmation_email"),
    ),
    "instance with a composite primary key": (
        lambda database: {"target": parcel(database).notify},
        (f"{MODULE}.Parcel", "notify"),
    ),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_every_kind_of_target_is_named_and_performed(database: str, kind: str):
    given, (target, method_name) = TARGETS[kind]
    row = Attempt.objects.using(database).create(**given(database), method_args=[1])
    assert (row.target, row.method_name) == (target, method_name)
    assert (row.target_pk is not None) == ("instance" in kind)
    row.perform()
    assert row.state == "succeeded", row.failures.get().message


def test_class_methods_without_arguments_and_async_instance_methods(database: str):
    rows = [
        call(target).using(database=database).enqueue()
        for target in (PostedOrder.close_all, order(database).send_feedback_mail)
    ]
    for row in rows:
        row.perform()
    assert [row.state for row in rows] == ["succeeded", "succeeded"]


def test_the_id_is_known_before_the_row_is_written(database: str):
    row = new_attempt(target=OrderClient.fulfill, method_args=ARGUMENTS)
    known = row.pk
    assert isinstance(known, UUID)
    row.save(using=database)
    assert Attempt.objects.using(database).get().pk == known


def test_ids_are_in_the_order_of_enqueueing(database: str):
    rows = enqueue_many(call(clients.greet, n).using(database=database) for n in range(20))
    assert [row.pk for row in rows] == sorted(row.pk for row in rows)


@pytest.mark.parametrize("number", [0, 1, 601])
def test_bulk_create_writes_all_in_order(database: str, number: int):
    rows = [new_attempt(target=clients.greet, method_args=[n]) for n in range(number)]
    assert Attempt.objects.using(database).bulk_create(rows) == rows
    found = Attempt.objects.using(database).order_by("id")
    assert [*found.values_list("id", flat=True)] == [row.pk for row in rows]
    assert all(row.created and row.status == "pending" for row in rows)
    if number:
        assert found[number - 1].method_args == [number - 1]


def test_bulk_create_takes_batches_and_any_iterable(database: str):
    rows = Attempt.objects.using(database).bulk_create(
        (new_attempt(target=clients.greet, method_args=[n]) for n in range(7)), batch_size=2
    )
    assert len(rows) == Attempt.objects.using(database).count() == 7


@pytest.mark.parametrize("option", ["ignore_conflicts", "update_conflicts"])
def test_bulk_create_refuses_what_would_break_a_promise(db: None, option: str):
    given: dict[str, Any] = {option: True}
    with pytest.raises(ValueError, match=option):
        Attempt.objects.bulk_create([new_attempt(target=clients.greet)], **given)


@pytest.mark.parametrize(
    "form",
    [
        {"target": clients.greet},
        {"target": f"{MODULE}.greet"},
        {"target": MODULE, "method_name": "greet"},
        {"target": clients, "method_name": "greet"},
        {"target": f"{MODULE}.OrderClient", "method_name": "describe"},
    ],
)
def test_get_or_create_finds_the_attempt_again(database: str, form: dict[str, Any]):
    attempts = Attempt.objects.using(database)
    defaults = {"method_args": [1], "priority": 4}
    first, created = attempts.get_or_create(**form, idempotence_token="a", defaults=defaults)
    again, created_again = attempts.get_or_create(**form, idempotence_token="a", defaults=defaults)
    assert (created, created_again, again.pk) == (True, False, first.pk)
    assert (first.created, again.created) == (True, False)
    assert (again.method_args, again.priority) == ([1], 4)


def test_get_or_create_finds_an_instances_attempt_by_its_primary_key(database: str):
    first, second = order(database), order(database)
    rows = [
        Attempt.objects.using(database).get_or_create(target=one.send_confirmation_email)[0]
        for one in (first, second, first)
    ]
    assert rows[0] == rows[2] != rows[1]


def test_get_or_create_tells_a_winner_that_differs_elsewhere(database: str):
    attempts = Attempt.objects.using(database)
    named: Any = {
        "target": clients.greet,
        "idempotence_token": "a",
        "defaults": {"method_args": [1]},
    }
    attempts.get_or_create(queue="default", **named)
    with pytest.raises(DuplicateAttempt, match="'a'"):
        attempts.get_or_create(queue="emails", **named)
    assert attempts.count() == 1
