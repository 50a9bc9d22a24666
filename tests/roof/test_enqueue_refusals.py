"""What can't be promised is refused in the caller, by its name; nothing is written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import transaction

from async_attempts import Arguments, Attempt, attemptable, call, enqueue
from async_attempts.calls import enqueue_many
from async_attempts.exceptions import (
    AttemptsError,
    InvalidArguments,
    InvalidOption,
    InvalidTarget,
    UnsupportedType,
)
from tests.shop import clients, effects
from tests.shop.clients import OrderClient, PostedOrder
from tests.shop.models import Customer
from tests.shop.unsaved import new_attempt

SECRET = "canary-4711"


class Foo:
    """What no payload can hold."""

    def __repr__(self) -> str:
        return SECRET


def nested(depth: int) -> list[Any]:
    value: list[Any] = [SECRET]
    for _ in range(depth):
        value = [value]
    return value


OPTIONS: list[tuple[str, Any]] = [
    ("queue", "parcels"),
    ("queue", ["emails"]),
    ("priority", 101),
    ("priority", -101),
    ("priority", 1.5),
    ("priority", True),
    ("priority", "urgent"),
    ("scheduled_at", datetime(2099, 1, 1)),  # noqa: DTZ001 naive, so refused
    ("scheduled_at", date(2099, 1, 1)),
    ("scheduled_at", "tomorrow"),
    ("scheduled_at", timedelta(days=999_999)),
    ("scheduled_at", timedelta.min),
    ("scheduled_at", float("nan")),
    ("scheduled_at", datetime.max.replace(tzinfo=timezone(-timedelta(hours=3)))),
    ("expires_at", datetime(2099, 1, 1)),  # noqa: DTZ001 naive, so refused
    ("expires_at", True),
    ("expires_at", timedelta.max),
    ("max_attempts", 0),
    ("max_attempts", -1),
    ("max_attempts", 2.5),
    ("max_attempts", "3"),
    ("max_attempts", 2**31),
    ("timeout", 0),
    ("timeout", -1),
    ("timeout", "30"),
    ("timeout", float("nan")),
    ("timeout", float("inf")),
    ("timeout", True),
    ("keep_result", "yes"),
    ("idempotence_token", ""),
    ("idempotence_token", "x" * 201),
    ("idempotence_token", "a\0b"),
    ("idempotence_token", "\ud800"),
    ("idempotence_token", 1),
    ("metadata", ["a"]),
    ("metadata", None),
    ("metadata", {"a": {1, 2}}),
    ("metadata", {"a": float("nan")}),
    ("metadata", {"a": "b\0"}),
    ("metadata", {"a": "\udfff"}),
    ("metadata", {"a": nested(sys.getrecursionlimit() * 2)}),
    ("subject", "order"),
    ("subject", Customer(name="unsaved")),
    ("backoff", 1),
    ("atomic", True),
]


def by_call(database: str, target: Any, arguments: Any, **options: Any) -> Any:
    given = Arguments.of(arguments)
    return call(target, *given.args, **given.kwargs).using(database=database, **options).enqueue()


def by_create(database: str, target: Any, arguments: Any, **options: Any) -> Any:
    return Attempt.objects.using(database).create(target=target, method_args=arguments, **options)


def in_bulk(database: str, target: Any, arguments: Any, **options: Any) -> Any:
    good = new_attempt(target=clients.greet, method_args=[2])
    bad = new_attempt(target=target, method_args=arguments, **options)
    return Attempt.objects.using(database).bulk_create([good, bad])


def among_many(database: str, target: Any, arguments: Any, **options: Any) -> Any:
    given = Arguments.of(arguments)
    good = call(clients.greet, 2).using(database=database)
    bad = call(target, *given.args, **given.kwargs).using(database=database, **options)
    return enqueue_many([good, bad])


WAYS: list[Callable[..., Any]] = [by_call, by_create, in_bulk, among_many]
every_way = pytest.mark.parametrize("way", WAYS)


def refused(database: str, way: Any, *call: Any, **options: Any) -> AttemptsError:
    """The error; around it a transaction that writes before and after, and commits."""
    with transaction.atomic(database):
        before = by_call(database, clients.greet, [0])
        with pytest.raises(AttemptsError) as raised:
            way(database, *call, **options)
        after = by_call(database, clients.greet, [1])
    assert [*Attempt.objects.using(database).order_by("id")] == [before, after]
    assert SECRET not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(("option", "value"), OPTIONS)
@pytest.mark.parametrize("way", [by_call, by_create])
def test_an_option_that_is_wrong(database: str, way: Any, option: str, value: Any):
    error = refused(database, way, clients.greet, [1], **{option: value})
    assert isinstance(error, InvalidOption)
    assert option in str(error)


@pytest.mark.parametrize("option", ["priorty", "delay", "status", "claimed_by"])
def test_an_option_that_is_none_is_answered_with_those_there_are(option: str):
    with pytest.raises(InvalidOption, match=rf"{option}.*idempotence_token.*queue"):
        call(clients.greet, 1).using(**{option: 1})


def test_create_takes_no_option_that_is_none(db: None):
    with pytest.raises(TypeError, match="priorty"):
        Attempt.objects.create(target=clients.greet, method_args=[1], priorty=1)


@every_way
@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"order": {"lines": [{Foo()}]}}, r"kwargs.order.lines[0]: set of Foo"),
        ({"order": Foo()}, "kwargs.order: Foo"),
        ([1, Foo()], "args[1]: Foo"),
        ([lambda: SECRET], "args[0]: function"),
        ([Customer(name=SECRET)], "args[0]"),
    ],
)
def test_arguments_that_can_not_be_stored(database: str, way: Any, arguments: Any, place: str):
    error = refused(database, way, effects.record, arguments)
    assert isinstance(error, UnsupportedType | InvalidArguments)
    assert place in str(error)


@every_way
def test_arguments_that_are_too_large(database: str, way: Any, settings: Any):
    settings.ASYNC_ATTEMPTS = django_settings.ASYNC_ATTEMPTS | {"MAX_ARGS_BYTES": 500}
    error = refused(database, way, effects.record, {"small": 1, "large": SECRET * 50})
    assert isinstance(error, InvalidArguments)
    assert "kwargs.large" in str(error)
    assert "500" in str(error)


@every_way
def test_arguments_that_are_too_deep(database: str, way: Any):
    error = refused(database, way, effects.record, [nested(40)])
    assert isinstance(error, InvalidArguments)
    assert "args[0]" in str(error)


@every_way
def test_arguments_that_recur(database: str, way: Any):
    loop: list[Any] = []
    loop.append(loop)
    error = refused(database, way, effects.record, [loop])
    assert isinstance(error, InvalidArguments)
    assert "args[0]" in str(error)


@every_way
@pytest.mark.parametrize(
    ("arguments", "part"),
    [({"customer": 1}, "customer"), ([1, 2], "positional"), ([], "customer_pk")],
)
def test_arguments_that_do_not_fit(database: str, way: Any, arguments: Any, part: str):
    error = refused(database, way, clients.greet, arguments)
    assert isinstance(error, InvalidArguments)
    assert "greet" in str(error)
    assert part in str(error)


@pytest.mark.parametrize("arguments", ["text", 1, {1: 2}, {1, 2}])
def test_method_args_are_a_mapping_or_a_list(arguments: Any):
    with pytest.raises(InvalidArguments, match="method_args"):
        new_attempt(target=clients.greet, method_args=arguments)


@every_way
@pytest.mark.parametrize(
    ("target", "name"),
    [
        (clients.unregistered, "unregistered"),
        (OrderClient.undecorated, "undecorated"),
        (OrderClient._private, "_private"),
        (OrderClient.needs_self, "needs_self"),
        (OrderClient, "OrderClient"),
        (PostedOrder.send_confirmation_email, "send_confirmation_email"),
        (print, "print"),
        (lambda: None, "lambda"),
        (7, "int"),
        (None, "NoneType"),
        ("os.system", "os.system"),
        ("tests.shop.clients.os.system", "os"),
        ("tests.shop.clients.unregistered", "unregistered"),
        ("tests.shop.clients.OrderClient.__init__", "__init__"),
        ("greet", "greet"),
        ("", ""),
    ],
)
def test_a_target_that_may_not_be_called(database: str, way: Any, target: Any, name: str):
    error = refused(database, way, target, [1])
    assert isinstance(error, InvalidTarget)
    assert name in str(error)


@every_way
def test_the_method_of_an_unsaved_instance(database: str, way: Any):
    error = refused(database, way, PostedOrder(number=1).send_confirmation_email, [])
    assert isinstance(error, InvalidTarget)
    assert "save it before" in str(error)


def test_a_function_defined_inside_another_can_not_even_be_decorated():
    with pytest.raises(InvalidTarget, match="inner"):

        @attemptable
        def inner() -> None: ...


def test_enqueue_many_takes_calls_only(db: None):
    no_call: Any = clients.greet
    with pytest.raises(InvalidOption, match=r"calls\[1\]: function.*call\("):
        enqueue_many([call(clients.greet, 1), no_call])
    assert not Attempt.objects.exists()


def test_a_database_that_is_not_there(db: None):
    with pytest.raises(Exception, match="'warehouse'"):
        call(clients.greet, 1).using(database="warehouse").enqueue()


def test_without_a_key_nothing_is_written_in_clear(db: None, settings: Any):
    settings.ASYNC_ATTEMPTS = {}
    with pytest.raises(AttemptsError, match="KEYS"):
        call(clients.greet, 1).enqueue()
    assert not Attempt.objects.exists()


def test_moments_of_the_far_past_and_future_are_fine(database: str):
    for moment in (datetime(1900, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)):
        row = by_call(database, clients.greet, [1], scheduled_at=moment)
        assert Attempt.objects.using(database).get(pk=row.pk).scheduled_at == moment


def test_what_a_target_has_returned_is_not_repeated(database):
    with pytest.raises(InvalidTarget) as raised:
        enqueue(clients.greet(1))  # type: ignore[arg-type]
    assert "hello" not in str(raised.value)
    assert "enqueue(function, …), not enqueue(function(…))" in str(raised.value)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"method_name": "greet"}, InvalidTarget, "target is missing: give a function"),
        ({"target": clients.greet, "args": [1]}, InvalidOption, "args: .* as method_args"),
    ],
)
def test_a_slip_in_creating_is_named_with_its_remedy(database, given, error, message):
    with pytest.raises(error, match=message):
        Attempt.objects.create(database=database, **given)
