"""`emit`: an attempt for each listener, in the caller's transaction, or an error in the caller."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from async_attempts import (
    Attempt,
    ConditionFailed,
    InvalidArguments,
    InvalidOption,
    InvalidTarget,
    WrongTransaction,
    aemit,
    emit,
    event,
    on,
    signals,
)
from tests.roof.events import COMPLETED, emitted, names
from tests.shop import listeners, paced
from tests.shop.models import Order

SECRET = "canary-4711"


def stored(database: str) -> Any:
    return Attempt.objects.using(database).order_by("id")


def drain(database: str) -> None:
    listeners.heard.clear()
    call_command("run_attempts", drain=True, database=database, verbosity=0)


def test_each_listener_has_an_attempt_in_the_order_of_their_imports(database: str):
    rows = emitted(database, order_id=1, amount=2000)
    assert names(rows) == ["send_receipt", "audit", "keep_journal"]
    assert [*stored(database)] == rows
    assert all(row.created and row.status == "pending" for row in rows)
    assert rows[1].target == "tests.shop.listeners.Accounts"
    assert [row.priority for row in rows] == [0, 5, 0]


def test_listeners_are_called_with_the_payload(database: str):
    emitted(database, order_id=1, amount=2000)
    emitted(database, "shop.order.cancelled", order_id=1)
    drain(database)
    assert {row.state for row in stored(database)} == {"succeeded"}
    both = {"order_id": 1, "amount": 2000}
    cancelled = {"order_id": 1}
    metadata = {"event": COMPLETED}
    assert [call for call in listeners.heard if call[0] != "keep_journal"] == [
        ("audit", both),
        ("send_receipt", both),
        ("refund", {**cancelled, "by": "Accounts"}),
    ]
    assert ("keep_journal", (COMPLETED, both, metadata)) in listeners.heard
    journal = [call[1][0] for call in listeners.heard if call[0] == "keep_journal"]
    assert journal == [COMPLETED, "shop.order.cancelled"]


def test_three_listeners_are_one_statement(database: str):
    connection = connections[database]
    with transaction.atomic(database), CaptureQueriesContext(connection) as queries:
        assert len(emitted(database, order_id=1, amount=2000)) == 3
    assert len(queries) == 1
    assert queries[0]["sql"].startswith("INSERT")


def test_moments_and_many_listeners_are_one_insert_too(database: str, listening: None):
    for pattern in ("a", "a*", "[a]", "?"):
        on(pattern, delay=60, expires_after=3600)(listeners.bystander)
    on("a", delay=60)(listeners.opinionated)
    on("a", expires_after=60)(listeners.send_receipt)
    connection = connections[database]
    with transaction.atomic(database), CaptureQueriesContext(connection) as queries:
        rows = emitted(database, "a", order_id=1, amount=1)
    assert sorted(names(rows)) == ["bystander", "opinionated", "send_receipt"]
    assert sum(query["sql"].startswith("INSERT") for query in queries) == 1
    assert sorted(row.status for row in rows) == ["pending", "scheduled", "scheduled"]


def test_who_is_told_of_an_enqueueing_and_raises_undoes_all(database: str):
    def raise_at_second(attempt: Attempt, **_: object) -> None:
        if attempt.method_name == "audit":
            raise ZeroDivisionError

    signals.enqueued.connect(raise_at_second)
    try:
        with transaction.atomic(database), pytest.raises(ZeroDivisionError):
            emitted(database, order_id=1, amount=2000)
    finally:
        signals.enqueued.disconnect(raise_at_second)
    assert not stored(database).exists()


def test_an_event_that_nobody_listens_to_is_no_statement(database: str):
    with CaptureQueriesContext(connections[database]) as queries:
        assert emitted(database, "warehouse.order.completed", order_id=object()) == []
    assert not queries


def test_it_is_part_of_the_callers_transaction(database: str):
    with suppress(ZeroDivisionError), transaction.atomic(database):
        Order.objects.using(database).create(number=1)
        emitted(database, order_id=1, amount=1)
        raise ZeroDivisionError
    assert not stored(database).exists()
    with transaction.atomic(database):
        with suppress(ZeroDivisionError), transaction.atomic(database):
            emitted(database, order_id=1, amount=1)
            raise ZeroDivisionError
        emitted(database, order_id=2, amount=2)
    assert {row.method_args["order_id"] for row in stored(database)} == {2}


def test_only_anothers_transaction_is_the_wrong_one(db: None):
    with transaction.atomic("default"), pytest.raises(WrongTransaction):
        emitted("postgresql", order_id=1, amount=1)


@pytest.mark.parametrize(("amount", "called"), [(1000, False), (1001, True)])
def test_a_condition_decides_in_the_caller(database: str, amount: int, called: bool):
    assert ("audit" in names(emitted(database, order_id=1, amount=amount))) is called


def test_a_condition_reads_the_payload_and_changes_nothing(database: str, listening: None):
    def greedy(payload: Any) -> bool:
        payload["amount"] = 0
        return True

    on("a", when=greedy)(listeners.bystander)
    with pytest.raises(ConditionFailed) as raised:
        emitted(database, "a", amount=1)
    assert isinstance(raised.value.__cause__, TypeError)


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "condition": (
        {"order_id": SECRET, "amount": "much"},
        ConditionFailed,
        r"@on\('shop.order.completed'\) on tests.shop.listeners.Accounts.audit raised TypeError",
    ),
    "unknown argument": (
        {"order_id": SECRET, "amount": 1, "colour": SECRET},
        InvalidArguments,
        r"'shop.order.completed'.*tests.shop.listeners.send_receipt.*'colour'.*\*\*rest",
    ),
    "missing argument": (
        {"amount": 1, "note": SECRET},
        InvalidArguments,
        r"tests.shop.listeners.send_receipt: missing a required argument: 'order_id'",
    ),
    "not to be stored": (
        {"order_id": {SECRET: object()}, "amount": 1},
        InvalidArguments,
        r"kwargs.order_id",
    ),
    "too large": (
        {"order_id": SECRET * 10_000, "amount": 1},
        InvalidArguments,
        r"kwargs.order_id",
    ),
    "event's name": (
        {"order_id": 1, "amount": 1, "event": SECRET},
        InvalidArguments,
        r"'event' is what listeners get the event's name by",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_refused_is_named_and_nothing_is_written(database: str, why: str):
    payload, error, message = REFUSED[why]
    with transaction.atomic(database):
        with pytest.raises(error, match=message) as raised:
            emitted(database, **payload)
        Order.objects.using(database).create(number=1)
    assert SECRET not in str(raised.value)
    assert not stored(database).exists()
    assert Order.objects.using(database).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": "parcels"}, r"@on\('b'\) on tests.shop.listeners.bystander: queue: 'parcels'"),
        ({"priority": "urgent"}, r"@on\('b'\) on tests.shop.listeners.bystander: priority"),
    ],
)
def test_a_listeners_options_are_refused_by_its_name(
    database: str, listening: None, options: Any, message: str
):
    on("b", **options)(listeners.bystander)
    with transaction.atomic(database):
        with pytest.raises(InvalidOption, match=message):
            emitted(database, "b")
        emitted(database, "shop.other")
    assert [row.method_name for row in stored(database)] == ["keep_journal"]


@pytest.mark.parametrize(
    ("listener", "option"), [(paced.reindex, "debounce"), (paced.recount_stock, "throttle")]
)
def test_what_does_not_go_with_a_pace_names_the_listener(
    database: str, listening: None, listener: Any, option: str
):
    on("b")(on("c", delay=5)(listener))
    part = rf"@on\('c'\) on tests.shop.paced.{listener.__name__}: delay, {option}: both say"
    with pytest.raises(InvalidOption, match=part):
        emitted(database, "c", number=1)
    part = rf"idempotence_token, {option}: @on\('b'\) on tests.shop.paced.{listener.__name__} keeps"
    with pytest.raises(InvalidOption, match=part):
        event("b", number=1).using(database=database, idempotence_token="once").emit()
    assert len(emitted(database, "b", number=1)) == 1


@pytest.mark.parametrize(
    ("listener", "message"),
    [
        (listeners.by_position, "by_position.*'order_id'"),
        (listeners.Counter.count, "Counter.count is a method of instances"),
    ],
)
def test_who_can_not_be_called_is_refused(
    database: str, listening: None, listener: Any, message: str
):
    on("c")(listener)
    with pytest.raises((InvalidArguments, InvalidTarget), match=message):
        emitted(database, "c", order_id=1)
    assert not stored(database).exists()


@pytest.mark.parametrize("name", ["", "order.*", "order.?", "order.[ab]", 1, None])
def test_an_events_name_is_no_pattern(name: Any):
    with pytest.raises(InvalidOption, match="name of an event"):
        emit(name)


def test_any_keyword_but_one_may_be_in_a_payload(database: str, listening: None):
    on("d")(listeners.bystander)
    payload = {"name": 1, "self": 2, "queue": 3, "when": 4, "using": 5}
    [row] = emitted(database, "d", **payload)
    assert row.method_args == payload


def test_options_go_to_each_attempt(database: str):
    order = Order.objects.using(database).create(number=7)
    announced = event(COMPLETED, order_id=1, amount=2000).using(database=database)
    rows = announced.using(
        subject=order, metadata={"campaign": "spring"}, idempotence_token="order-7"
    ).emit()
    assert {row.subject for row in rows} == {order}
    assert all(row.metadata == {"campaign": "spring", "event": COMPLETED} for row in rows)
    again = announced.using(idempotence_token="order-7").emit()
    assert [row.pk for row in again] == [row.pk for row in rows]
    assert [row.created for row in again] == [False] * 3
    assert stored(database).count() == 3


@pytest.mark.parametrize("option", ["queue", "priority", "scheduled_at", "colour"])
def test_the_rest_is_for_the_listener_to_say(option: str):
    with pytest.raises(InvalidOption, match=f"{option}: is for the listener to say.*subject"):
        event("shop.opened").using(**{option: 1})


def test_metadata_must_be_a_mapping(database: str):
    with pytest.raises(InvalidOption, match="metadata"):
        event("shop.opened").using(database=database, metadata=[1]).emit()


def test_an_event_shows_no_payload():
    assert SECRET not in repr(event("shop.opened", note=SECRET))


def test_the_functions_write_to_the_default_database(db: None):
    assert len(emit(COMPLETED, order_id=1, amount=1)) == 2
    assert stored("default").count() == 2


@pytest.mark.parametrize("number", [0, 2000])
def test_async_code_emits(database: str, number: int):
    rows = async_to_sync(
        event(COMPLETED, order_id=1, amount=number).using(database=database).aemit
    )()
    assert [row.pk for row in rows] == [row.pk for row in stored(database)]
    # Nothing is left to be read, which async code couldn't.
    assert all("scheduled_at" in row.__dict__ for row in rows)


@pytest.mark.django_db(transaction=True)
def test_async_code_emits_by_the_function_too():
    assert len(async_to_sync(aemit)(COMPLETED, order_id=1, amount=1)) == 2
    assert async_to_sync(aemit)("nobody.listens") == []
    with pytest.raises(InvalidArguments, match="'colour'"):
        async_to_sync(aemit)(COMPLETED, order_id=1, amount=1, colour="red")
    assert stored("default").count() == 2
