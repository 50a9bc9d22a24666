"""What is stored by name: members of Enum classes, and rows of models."""

from __future__ import annotations

from enum import Enum, Flag, IntFlag, auto
from typing import ClassVar

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import IntegerChoices, TextChoices
from django.test import override_settings
from django.utils.functional import SimpleLazyObject

from async_attempts.exceptions import (
    InvalidArguments,
    InvalidTarget,
    ObjectGone,
    UnknownTarget,
    UnsupportedType,
)
from async_attempts.payload import Arguments, dump_arguments, dump_value, load_arguments, load_value
from tests.shop.models import Customer, Order


class Colour(Enum):
    RED = "red"
    CRIMSON = "red"  # noqa: PIE796 an alias
    BLUE = object()


class Size(IntegerChoices):
    SMALL = 1, "small"
    LARGE = 2, "large"

    __empty__ = "unknown"


class Permission(Flag):
    READ = auto()
    WRITE = auto()
    SHARE = auto()
    ALL = READ | WRITE | SHARE


class Mode(IntFlag):
    READ = 4
    WRITE = 2


class Parcel:
    class State(TextChoices):
        SENT = "sent"

    registry: ClassVar[list[object]] = []


class _Private(Enum):
    ONE = 1


@pytest.fixture
def allowed():
    changed = {**django_settings.ASYNC_ATTEMPTS, "TARGETS": [f"{__name__}.*"]}
    with override_settings(ASYNC_ATTEMPTS=changed):
        yield


@pytest.mark.parametrize(
    "member",
    [
        Colour.CRIMSON,
        Colour.BLUE,
        Size.LARGE,
        Permission.WRITE,
        Permission.READ | Permission.SHARE,
        Permission.ALL,
        Permission(0),
        Mode.READ | Mode.WRITE,
        Parcel.State.SENT,
    ],
    ids=str,
)
def test_the_very_same_member_comes_back(allowed, member):
    assert load_value(dump_value(member)) is member
    assert load_value(dump_value({"in": [(member,)], member: {member}})) == {
        "in": [(member,)],
        member: {member},
    }


def test_a_class_that_could_not_be_imported_when_performed_is_refused_when_stored():
    class Local(Enum):
        ONE = 1

    for member in (Colour.RED, Local.ONE):
        name = type(member).__name__
        with pytest.raises(UnsupportedType, match=rf"^kwargs\.member: {name} can't be stored: "):
            dump_arguments(Arguments(member=member))


def test_a_private_class_is_refused(allowed):
    with pytest.raises(UnsupportedType, match=r"_Private can't be stored: .*no public name"):
        dump_value(_Private.ONE)


def test_a_class_that_its_name_does_not_lead_to_is_refused(allowed):
    class Imposter(Enum):
        RED = "red"

    Imposter.__qualname__ = Colour.__qualname__
    with pytest.raises(UnsupportedType, match="no member that its class has by name"):
        dump_value(Imposter.RED)


def test_bits_without_a_name_are_refused(allowed):
    with pytest.raises(UnsupportedType, match="Mode can't be stored"):
        dump_value(Mode.READ | Mode(64))


@pytest.mark.parametrize("name", ["Permission", "Gone"])
def test_a_class_or_member_that_this_code_does_not_have_says_so(allowed, name):
    stored = f'{{"$":"enum","v":["{__name__}.{name}","canary"]}}'
    with pytest.raises(UnknownTarget) as caught:
        load_value(stored.encode())
    assert name in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("name", ["os.PathLike", "signal.Signals", f"{__name__}.Colour"])
def test_no_class_is_imported_from_outside_installed_apps(name):
    with pytest.raises(InvalidTarget, match="in no installed app"):
        load_value(f'{{"$":"enum","v":["{name}","RED"]}}'.encode())


def test_no_class_but_an_enum_is_used():
    with pytest.raises(InvalidArguments, match="stored as an Enum class, and is none"):
        load_value(b'{"$":"enum","v":["async_attempts.exceptions.Fail","canary"]}')


def test_a_row_comes_back_as_it_is_by_now_from_its_own_database(database):
    order = Order.objects.using(database).create(number=7)
    data = dump_arguments(Arguments(order, by_order={order: [order]}))
    Order.objects.using(database).update(status="paid")
    loaded = load_arguments(data)
    assert loaded == Arguments(order, by_order={order: [order]})
    assert loaded.args[0].status == "paid"
    assert loaded.args[0]._state.db == database


def test_a_row_that_is_gone_is_named(database):
    customer = Customer.objects.using(database).create(name="canary")
    order = Order.objects.using(database).create(number=7, customer=customer)
    data = dump_value([order])
    pk = order.pk
    order.delete()
    with pytest.raises(ObjectGone, match=rf"^shop\.Order with primary key {pk} does not exist"):
        load_value(data)
    with pytest.raises(UnsupportedType, match=r"^result: unsaved shop\.Order can't be stored"):
        dump_value(order)


@pytest.mark.django_db
def test_a_lazy_row_is_stored_as_the_row():
    order = Order.objects.create(number=7)
    loaded = load_value(dump_value(SimpleLazyObject(lambda: order)))
    assert type(loaded) is Order
    assert loaded == order


def test_a_lazy_object_is_named_by_what_is_behind_it():
    with pytest.raises(UnsupportedType, match=r"^result: AnonymousUser can't be stored"):
        dump_value(SimpleLazyObject(AnonymousUser))


@pytest.mark.django_db
def test_a_row_is_found_whatever_the_default_manager_hides(monkeypatch):
    order = Order.objects.create(number=7)
    monkeypatch.setattr(Order._default_manager, "get_queryset", Order.objects.none)
    assert load_value(dump_value(order)) == order


def test_a_row_of_a_model_or_database_that_this_code_does_not_have_says_so():
    with pytest.raises(UnknownTarget, match=r"no model 'shop\.Gone'"):
        load_value(b'{"$":"row","v":["shop.Gone",1,"default"]}')
    with pytest.raises(UnknownTarget, match="'elsewhere', which DATABASES doesn't have"):
        load_value(b'{"$":"row","v":["shop.Order",1,"elsewhere"]}')
