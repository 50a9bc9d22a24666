"""How targets of each kind are written into a row, and which are refused there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.utils.functional import SimpleLazyObject

from async_attempts.exceptions import InvalidTarget
from async_attempts.targets import TargetName, decorator, resolve, target, target_column, target_of
from tests.shop import clients, legacy
from tests.shop.clients import ExpressClient, OrderClient, Parcel, PostedOrder
from tests.shop.models import Customer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import Settings

MODULE = "tests.shop.clients"
CLIENT = f"{MODULE}.OrderClient"
POSTED = f"{MODULE}.PostedOrder"


def saved(order: Any) -> Any:
    """As if it had been read from a database."""
    order._state.adding = False
    return order


ORDER = saved(PostedOrder(pk=7, number=1))
PARCEL = saved(Parcel(order_number=7, position='a"b'))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ((OrderClient, "fulfill"), (CLIENT, None, "fulfill")),
        ((OrderClient, "describe"), (CLIENT, None, "describe")),
        ((CLIENT, "fulfill"), (CLIENT, None, "fulfill")),
        ((f"{CLIENT}.fulfill",), (CLIENT, None, "fulfill")),
        ((OrderClient.fulfill,), (CLIENT, None, "fulfill")),
        (("tests_shop_before.OrderClient", "fulfill"), (CLIENT, None, "fulfill")),
        ((OrderClient.fulfill, "fulfill"), (CLIENT, None, "fulfill")),
        ((OrderClient.cancel,), (CLIENT, None, "cancel")),
        ((OrderClient().cancel,), (CLIENT, None, "cancel")),
        ((OrderClient.describe,), (CLIENT, None, "describe")),
        ((OrderClient.name_class,), (CLIENT, None, "name_class")),
        ((OrderClient.Returns.accept,), (f"{CLIENT}.Returns", None, "accept")),
        ((ExpressClient, "fulfill"), (f"{MODULE}.ExpressClient", None, "fulfill")),
        ((ExpressClient.describe,), (f"{MODULE}.ExpressClient", None, "describe")),
        ((clients, "send_welcome"), (MODULE, None, "send_welcome")),
        ((MODULE, "send_welcome"), (MODULE, None, "send_welcome")),
        ((f"{MODULE}.send_welcome",), (MODULE, None, "send_welcome")),
        ((clients.send_welcome,), (MODULE, None, "send_welcome")),
        ((clients.send_later,), (MODULE, None, "send_later")),
        ((PostedOrder, "count_up"), (POSTED, None, "count_up")),
        ((PostedOrder.close_all,), (POSTED, None, "close_all")),
        ((ORDER, "send_confirmation_email"), (POSTED, "7", "send_confirmation_email")),
        ((ORDER.send_confirmation_email,), (POSTED, "7", "send_confirmation_email")),
        ((ORDER.close_all,), (POSTED, None, "close_all")),
        ((ORDER, "count_up"), (POSTED, "7", "count_up")),
        ((SimpleLazyObject(lambda: ORDER), "count_up"), (POSTED, "7", "count_up")),
        ((PARCEL.notify,), (f"{MODULE}.Parcel", '["7", "a\\"b"]', "notify")),
    ],
)
def test_each_kind_of_target_has_its_name(
    given: tuple[Any, ...], name: tuple[str, str | None, str]
):
    assert target_of(*given).name == name


@pytest.mark.parametrize(
    ("target", "column"),
    [
        (clients, MODULE),
        (clients.send_welcome, MODULE),
        (OrderClient, CLIENT),
        (OrderClient.fulfill, CLIENT),
        (ExpressClient.describe, f"{MODULE}.ExpressClient"),
        (ORDER, POSTED),
        (ORDER.send_confirmation_email, POSTED),
        (3, None),
    ],
)
def test_the_column_to_look_a_target_up_by_is_the_one_that_its_name_has(
    target: object, column: str | None
):
    assert target_column(target) == column


STRANGE = saved(Customer(pk=1))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((OrderClient, "undecorated"), "decorate it with @attemptable or name it in ASYNC_ATT"),
        ((OrderClient.undecorated,), "decorate it with @attemptable"),
        ((clients, "unregistered"), "decorate it with @attemptable"),
        ((ORDER, "save"), "PostedOrder.save is not attemptable"),
        ((ORDER.delete,), "is not attemptable"),
        ((OrderClient, "trap"), "trap is a property"),
        ((OrderClient, "lazy_trap"), "lazy_trap is a cached_property"),
        ((OrderClient, "timeout"), "timeout is a int"),
        ((OrderClient, "Returns"), "is a class"),
        ((clients, "OrderClient"), "is a class"),
        ((OrderClient, "_private"), "'_private' is no public name"),
        ((OrderClient._private,), "'_private' is no public name"),
        ((OrderClient, "__init__"), "'__init__' is no public name"),
        ((OrderClient, "fulfill.__call__"), "'__call__' is no public name"),
        ((OrderClient, "mro"), "mro"),
        ((OrderClient, ""), "'' is no public name"),
        ((OrderClient, "needs_self"), "static or a class method"),
        ((OrderClient().needs_self,), "static or a class method"),
        ((PostedOrder, "send_confirmation_email"), "pass an instance"),
        ((PostedOrder.send_confirmation_email,), "pass an instance"),
        ((f"{POSTED}.send_confirmation_email",), "pass an instance"),
        ((clients.Notifies.notify,), "pass a model instance's"),
        ((PostedOrder(number=1), "count_up"), "unsaved shop.PostedOrder"),
        ((PostedOrder(pk=7, number=1).send_confirmation_email,), "unsaved shop.PostedOrder"),
        ((Parcel(order_number=7).notify,), "unsaved shop.Parcel"),
        ((STRANGE, "unregistered"), "Customer.*has no 'unregistered'"),
        ((clients, "os"), "is a module"),
        ((f"{MODULE}.os", "system"), "neither a class nor a module"),
        ((f"{MODULE}.os.system",), "neither a class nor a module"),
        (("os", "system"), "in no installed app"),
        (("os.system",), "in no installed app"),
        ((print,), "'builtins.print' is in no installed app"),
        ((clients.os, "system"), "in no installed app"),
        ((OrderClient,), "without method_name"),
        ((clients,), "without method_name"),
        ((ORDER,), "without method_name"),
        (("send_welcome",), "no public name"),
        (("",), "target is missing: give a function"),
        (("", "greet"), "target is missing: give a function"),
        ((clients.greet(1),), r"A str of 8 characters .* enqueue\(function, …\), not"),
        (("no name, data",), "not what it returned"),
        ((OrderClient, OrderClient.fulfill), "method_name must be a name"),
        ((OrderClient.fulfill, "cancel"), "leave it out"),
        ((OrderClient(), "fulfill"), "no dotted name"),
        ((None,), r"no dotted name.* enqueue\(function, …\), not enqueue\(function\(…\)\)"),
        ((PostedOrder.objects.all(), "delete"), "no dotted name"),
        ((lambda: None,), "lambda"),
        ((type("Made", (), {}), "run"), "has no 'Made'|in no installed app"),
        ((f"tests.shop.{'long' * 64}", "run"), "longer than 255"),
        ((saved(Parcel(order_number=7, position="x" * 255)).notify,), "longer than 255"),
    ],
)
def test_what_may_not_be_called_is_refused_with_the_remedy(given: tuple[Any, ...], why: str):
    with pytest.raises(InvalidTarget, match=why):
        target_of(*given)


@pytest.mark.parametrize(
    "name",
    [
        (CLIENT, None, "undecorated"),
        (CLIENT, None, "trap"),
        (CLIENT, None, "_private"),
        (CLIENT, None, "__init__"),
        (CLIENT, None, "needs_self"),
        (CLIENT, "7", "needs_self"),
        (CLIENT, "7", "fulfill"),
        (MODULE, "7", "send_welcome"),
        (f"{MODULE}.Notifies", "7", "notify"),
        (POSTED, None, "send_confirmation_email"),
        (POSTED, "7", "delete"),
        (f"{MODULE}.os", None, "system"),
        ("os", None, "system"),
        ("subprocess", None, "run"),
    ],
)
def test_a_forged_row_is_refused_when_it_is_performed(name: tuple[str, str | None, str]):
    with pytest.raises(InvalidTarget):
        resolve(TargetName(*name), "default")


def test_a_function_that_its_own_name_no_longer_leads_to_is_refused(
    monkeypatch: pytest.MonkeyPatch,
):
    first = clients.send_welcome
    monkeypatch.setattr(clients, "send_welcome", clients.greet)
    with pytest.raises(InvalidTarget, match="another function"):
        target_of(first)


def test_a_class_that_its_own_name_no_longer_leads_to_is_refused(monkeypatch: pytest.MonkeyPatch):
    replaced = type("Replaced", (), {"cancel": vars(OrderClient)["cancel"]})
    replaced.__module__ = MODULE
    monkeypatch.setattr(clients, "Replaced", OrderClient, raising=False)
    with pytest.raises(InvalidTarget, match="another class"):
        target_of(replaced, "cancel")


def test_a_former_name_of_a_method_may_lead_to_another_class(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(target, "_targets", {})
    monkeypatch.setitem(decorator._aliases, f"{CLIENT}.void", f"{POSTED}.close_all")
    assert target_of(OrderClient, "void").name == (POSTED, None, "close_all")


@pytest.fixture
def named(settings: Settings) -> Callable[..., None]:
    def name_targets(*patterns: str) -> None:
        settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"TARGETS": list(patterns)}

    return name_targets


LEGACY = "tests.shop.legacy"


@pytest.mark.parametrize(
    ("target", "method_name"),
    [(legacy, "print_invoice"), (legacy.Printer, "print_label"), (legacy.Printer, "print_all")],
)
def test_a_glob_in_the_settings_makes_targets_of_what_its_module_defines(
    target: Any, method_name: str, named: Callable[..., None]
):
    with pytest.raises(InvalidTarget):
        target_of(target, method_name)
    named(f"{LEGACY}.*")
    assert target_of(target, method_name).name.method_name == method_name
    named("tests.shop.models.*")
    with pytest.raises(InvalidTarget):
        target_of(target, method_name)


@pytest.mark.parametrize(
    "name",
    [
        f"{LEGACY}.getcwd",
        f"{LEGACY}.Printer.join",
        f"{LEGACY}.ImportedClient.undecorated",
        f"{LEGACY}.posixpath.join",
        f"{LEGACY}.LIMIT",
        f"{LEGACY}._private",
    ],
)
def test_a_glob_does_not_reach_what_its_module_has_imported(name: str, named: Callable[..., None]):
    named(f"{LEGACY}.*")
    with pytest.raises(InvalidTarget):
        target_of(name)


@pytest.mark.parametrize("name", ["getcwd", "Printer.join", "ImportedClient.undecorated"])
def test_an_exact_name_in_the_settings_may_be_anything_inside_the_module(
    name: str, named: Callable[..., None]
):
    named(f"{LEGACY}.{name}")
    assert str(target_of(f"{LEGACY}.{name}").name) == f"{LEGACY}.{name}"


def test_an_exact_name_may_lie_outside_of_the_installed_apps(named: Callable[..., None]):
    named("posixpath.join")
    assert target_of("posixpath.join").name == ("posixpath", None, "join")
    with pytest.raises(InvalidTarget):
        target_of("posixpath.split")
