"""How a name becomes a callable again, and whether arguments fit it."""

from __future__ import annotations

import asyncio
import functools
import sys
from types import MethodType
from typing import Any
from unittest.mock import patch

import pytest
from django.utils.connection import ConnectionDoesNotExist
from pytest_django import Settings

from async_attempts.exceptions import InvalidArguments, InvalidTarget, ObjectGone, UnknownTarget
from async_attempts.payload import Arguments, dump_arguments, load_arguments
from async_attempts.targets import (
    CallSignature,
    TargetName,
    resolve,
    target_named,
    target_of,
    underlying,
)
from async_attempts.targets import target as target_module
from tests.shop import clients
from tests.shop.clients import AddressedOrder, ExpressClient, OrderClient, Parcel, PostedOrder
from tests.shop.models import Customer

MODULE = "tests.shop.clients"
SECRET = "canary-4711"


class ToOneDatabase:
    """A router that writes everything to one alias, whatever the hints say."""

    alias = ""

    def db_for_write(self, *_: object, **__: object) -> str:
        return self.alias

    def allow_relation(self, *_: object, **__: object) -> bool:
        return True


@pytest.mark.parametrize(
    ("target", "arguments", "result"),
    [
        (OrderClient.fulfill, {"customer_token": "t", "order_number": 1}, "1 for t"),
        (OrderClient.cancel, {"order_number": 1}, "cancelled 1"),
        (OrderClient.describe, {"order_number": 1}, "OrderClient 1"),
        (ExpressClient.describe, {"order_number": 1}, "ExpressClient 1"),
        (ExpressClient.name_class, {}, "ExpressClient"),
        (clients.send_welcome, {"customer_pk": 1}, "welcome, 1"),
        (clients.shout, {"customer_pk": 1}, "HELLO, 1"),
        (PostedOrder.close_all, {}, "closed all of PostedOrder"),
    ],
)
def test_a_name_leads_back_to_what_was_named(target: Any, arguments: dict[str, Any], result: str):
    resolved = resolve(target_of(target).name, "default")
    assert resolved.function(**arguments) == result
    assert not resolved.is_coroutine


def test_a_resolved_target_has_its_policy():
    policy = resolve(target_of(OrderClient.fulfill).name, "default").policy
    assert (policy.queue, policy.timeout) == ("fulfilment", 30.0)


@pytest.mark.parametrize(
    ("target", "result"), [(OrderClient.track, "tracked 1"), (clients.send_later, "later, 1")]
)
def test_a_coroutine_function_is_told_apart(target: Any, result: str):
    resolved = resolve(target_of(target).name, "default")
    assert resolved.is_coroutine
    assert asyncio.run(resolved.function(1)) == result


def test_a_model_instance_is_read_from_the_attempts_database(database: str):
    order = PostedOrder.objects.using(database).create(number=5)
    resolved = resolve(target_of(order.send_confirmation_email).name, database)
    assert resolved.function("de") == "order 5 confirmed in de"
    bound: Any = resolved.function
    assert bound.__self__._state.db == database
    assert not resolved.is_coroutine
    assert resolve(target_of(order.send_feedback_mail).name, database).is_coroutine


def test_a_static_method_named_on_an_instance_is_called_without_it(database: str):
    order = PostedOrder.objects.using(database).create(number=5)
    assert resolve(target_of(order, "count_up").name, database).function(1) == 2


def test_a_primary_key_of_two_columns_finds_its_row(database: str):
    parcel = Parcel(order_number=7, position='a"b')
    parcel.save(using=database)
    resolved = resolve(target_of(parcel.notify).name, database)
    assert resolved.function("!") == f"notified {parcel.pk}!"


def test_a_row_that_is_gone_is_named(database: str):
    order = PostedOrder.objects.using(database).create(number=5)
    name = target_of(order.send_confirmation_email).name
    order.delete()
    with pytest.raises(ObjectGone, match=rf"shop.PostedOrder.*'{name.target_pk}'"):
        resolve(name, database)


@pytest.mark.parametrize(
    ("target", "pk"), [("PostedOrder", "seven"), ("Parcel", "7"), ("Parcel", "[")]
)
def test_a_key_that_no_row_can_have_is_a_row_that_is_gone(target: str, pk: str):
    method_name = "notify" if target == "Parcel" else "send_confirmation_email"
    with pytest.raises(ObjectGone, match=target):
        resolve(TargetName(f"{MODULE}.{target}", pk, method_name), "default")


def test_a_router_has_the_last_word_on_where_the_instance_is(
    database: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    order = PostedOrder.objects.using(database).create(number=5)
    monkeypatch.setattr(ToOneDatabase, "alias", database)
    settings.DATABASE_ROUTERS = [ToOneDatabase()]
    resolved = resolve(target_of(order.send_confirmation_email).name, "no_such_database")
    bound: Any = resolved.function
    assert bound.__self__._state.db == database


at_the_default = pytest.mark.only(
    "sqlite",
    reason="while an instance is made Django reads its relations from the default database",
)


def addressed(database: str, name: str) -> AddressedOrder:
    customer = Customer.objects.using(database).create(name=name)
    return AddressedOrder.objects.using(database).create(number=5, customer=customer)


@at_the_default
def test_an_instance_whose_making_reads_a_relation_is_found(database: str):
    order = addressed(database, "Ada")
    assert resolve(target_of(order.address).name, database).function() == "Ada"


@at_the_default
def test_such_an_instance_is_found_among_the_arguments(database: str):
    order = addressed(database, "Ada")
    stored = dump_arguments(Arguments(order))
    assert load_arguments(stored).args[0].addressee == "Ada"


def test_a_relation_that_is_gone_is_not_taken_for_the_row(database: str, monkeypatch: Any):
    order = addressed(database, "Ada")

    def missing(self: AddressedOrder, *args: object, **kwargs: object) -> None:
        raise Customer.DoesNotExist("its customer is gone")

    monkeypatch.setattr(AddressedOrder, "__init__", missing)
    with pytest.raises(Customer.DoesNotExist, match="its customer is gone"):
        resolve(target_of(order.address).name, database)


class BySize:
    """A router that goes by the row's primary key."""

    def db_for_write(self, model: object, *, instance: Any, **hints: object) -> str:
        assert instance.number is None
        return "small" if instance.pk < 10 else instance._state.db


@pytest.mark.parametrize(("pk", "alias"), [(7, "small"), (11, "there")])
def test_a_router_knows_the_instances_key_and_database(pk: int, alias: str, settings: Settings):
    settings.DATABASE_ROUTERS = [BySize()]
    with pytest.raises(ConnectionDoesNotExist, match=f"'{alias}'"):
        resolve(TargetName(f"{MODULE}.PostedOrder", str(pk), "send_confirmation_email"), "there")


@pytest.mark.parametrize(
    ("target", "method_name", "result"),
    [
        ("tests_shop_before.clients", "greet", "hello, 1"),
        ("tests.shop.before", "greet", "hello, 1"),
    ],
)
def test_an_old_name_leads_to_the_moved_function(target: str, method_name: str, result: str):
    assert resolve(TargetName(target, None, method_name), "default").function(1) == result


def test_an_old_name_outside_of_the_apps_is_found_without_importing_it():
    name = TargetName("tests_shop_before.OrderClient", None, "fulfill")
    function = resolve(name, "default").function
    assert function(customer_token="t", order_number=1) == "1 for t"
    assert "tests_shop_before" not in sys.modules


@pytest.mark.parametrize(
    ("target", "method_name"),
    [
        ("tests.shop.no_such_module", "run"),
        (MODULE, "no_such_function"),
        (f"{MODULE}.OrderClient", "no_such_method"),
        (f"{MODULE}.NoSuchClient", "fulfill"),
        ("tests.shop.broken", "run"),
    ],
)
def test_what_this_workers_code_does_not_have_is_unknown(target: str, method_name: str):
    with pytest.raises(UnknownTarget):
        resolve(TargetName(target, None, method_name), "default")


def test_a_target_is_refused_again_once_the_settings_no_longer_name_it(settings: Settings):
    name = TargetName("tests.shop.legacy", None, "print_invoice")
    plain = settings.ASYNC_ATTEMPTS
    settings.ASYNC_ATTEMPTS = plain | {"TARGETS": ["tests.shop.legacy.*"]}
    assert resolve(name, "default").function(1) == "invoice 1"
    settings.ASYNC_ATTEMPTS = plain
    with pytest.raises(InvalidTarget):
        resolve(name, "default")


def test_a_target_that_was_unknown_is_found_once_it_is_there(monkeypatch: pytest.MonkeyPatch):
    name = TargetName(MODULE, None, "newcomer")
    with pytest.raises(UnknownTarget):
        resolve(name, "default")
    monkeypatch.setattr(clients, "newcomer", clients.send_welcome, raising=False)
    assert resolve(name, "default").function(1) == "welcome, 1"


@pytest.mark.parametrize("target", [clients.send_welcome, OrderClient.cancel])
def test_a_mock_in_a_targets_place_is_called_although_the_target_was_resolved_before(target: Any):
    name = target_of(target).name
    resolve(name, "default")
    with patch(str(name), return_value="mocked"):
        assert resolve(name, "default").function(1) == "mocked"
    assert resolve(name, "default").function is target


def signature_of(target: Any) -> CallSignature:
    if isinstance(target, TargetName):
        return target_named(target.target, target.method_name).signature
    return CallSignature(underlying(target), takes_owner=isinstance(target, MethodType))


@pytest.mark.parametrize(
    ("target", "args", "kwargs"),
    [
        (OrderClient.fulfill, (), {"customer_token": SECRET, "order_number": 1}),
        (OrderClient.describe, (1,), {}),
        (PostedOrder(number=1).send_confirmation_email, (), {}),
        (clients.shout, (1,), {}),
        (target_of(OrderClient.describe).name, (1,), {}),
        (target_of(OrderClient.cancel).name, (1,), {}),
        (TargetName(f"{MODULE}.PostedOrder", "1", "send_confirmation_email"), ("de",), {}),
        (resolve(target_of(OrderClient.describe).name, "default").function, (1,), {}),
        (print, (SECRET, 1, 2), {"sep": ""}),
        (functools.partial(clients.greet, 1), (), {}),
    ],
)
def test_arguments_that_fit_pass(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]):
    signature_of(target).check(args, kwargs)


@pytest.mark.parametrize(
    ("target", "args", "kwargs", "why"),
    [
        (
            OrderClient.fulfill,
            (),
            {"customer_token": SECRET},
            "OrderClient.fulfill: missing a required argument: 'order_number'",
        ),
        (OrderClient.fulfill, (SECRET,), {}, "OrderClient.fulfill: too many positional arguments"),
        (
            clients.send_welcome,
            (1,),
            {"customer": SECRET},
            "clients.send_welcome: got an unexpected keyword argument 'customer'",
        ),
        (clients.send_welcome, (1,), {"customer_pk": SECRET}, "multiple values"),
        (OrderClient.describe, (1, SECRET), {}, "describe: too many positional arguments"),
        (target_of(OrderClient.describe).name, (1, SECRET), {}, "describe: too many"),
        (target_of(OrderClient.cancel).name, (1, SECRET), {}, "cancel: too many"),
        (PostedOrder(number=1).send_confirmation_email, ("de", SECRET), {}, "too many"),
        (
            TargetName(f"{MODULE}.PostedOrder", "1", "send_confirmation_email"),
            ("de", SECRET),
            {},
            "PostedOrder.send_confirmation_email: too many",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_pythons_words_without_their_values(
    target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], why: str
):
    with pytest.raises(InvalidArguments, match=why) as caught:
        signature_of(target).check(args, kwargs)
    assert SECRET not in str(caught.value)


def test_a_function_in_the_place_of_another_is_resolved_anew(monkeypatch: pytest.MonkeyPatch):
    name = target_of(clients.greet).name
    before = resolve(name, "default")
    assert resolve(name, "default") is before
    monkeypatch.setattr(clients, "greet", lambda customer_pk: f"another, {customer_pk}")
    assert resolve(name, "default").function(1) == "another, 1"
    assert target_of("tests.shop.clients.greet").found is clients.greet


def test_what_is_no_target_any_more_is_not_resolved(settings: Any):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "TARGETS": ["tests.shop.clients.*"]}
    name = target_of(clients.unregistered).name
    resolve(name, "default")
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "TARGETS": []}
    with pytest.raises(InvalidTarget):
        resolve(name, "default")
    with pytest.raises(InvalidTarget):
        target_of(clients.unregistered)


def test_what_is_kept_of_targets_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(target_module, "_targets", {})
    monkeypatch.setattr(target_module, "MAX_CACHED", 3)
    for function in (clients.greet, clients.send_welcome, clients.shout):
        assert target_of(function) is target_of(function)
    assert len(target_module._targets) <= 3
