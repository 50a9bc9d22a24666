"""What `storable` refuses where a type is declared; nothing is registered then."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from async_attempts import storable
from async_attempts.exceptions import InvalidOption
from async_attempts.payload import dump_value, load_value
from async_attempts.payload.registry import registry
from tests.shop.invoices import Money


@pytest.fixture(autouse=True)
def _registered_for_one_test():
    with mock.patch.dict(registry.by_type), mock.patch.dict(registry.by_name):
        yield


class Foo:
    """Of no use."""


@dataclass
class Plain:
    number: int


class Inherits(Plain):
    more: int


class Colour(Enum):
    RED = 1


@dataclass(frozen=True)
class Mass:
    kilograms: float


class Planet(Mass, Enum):
    EARTH = 5.97e24


@dataclass
class NeedsMore:
    a: int
    b: InitVar[int]


async def later(value: Any) -> Any: ...


BOTH: dict[str, Any] = {"store": vars, "load": Foo}


@pytest.mark.parametrize(
    ("cls", "options", "text"),
    [
        (Foo, {}, r"declared\.Foo: is no dataclass: put @dataclass below @storable"),
        pytest.param(Inherits, {}, "Inherits: is no dataclass", id="inherits"),
        (Foo, {"store": vars}, "load is missing: store and load go together"),
        (Foo, {"load": Foo}, "store is missing"),
        (Foo, {"store": "vars", "load": Foo}, "store must be a function, not a str"),
        (Foo, {"store": vars, "load": later}, "load is a coroutine function"),
        (Foo, {**BOTH, "version": 0}, "version: 0 must be a whole number from 1 on"),
        (Foo, {**BOTH, "version": True}, "version: True must be"),
        (Foo, {**BOTH, "version": "2"}, "version: '2' must be"),
        (Foo, {**BOTH, "name": "shop Money"}, "name: 'shop Money' must be a name such as"),
        (Foo, {**BOTH, "name": "shop.Money@2"}, "name: 'shop.Money@2' must be"),
        (Foo, {**BOTH, "name": "a" * 256}, "of at most 255 characters"),
        (Foo, {**BOTH, "name": ""}, "name: '' must be"),
        (Foo, {**BOTH, "aliases": [1]}, "aliases: 1 must be a name"),
        pytest.param(
            Foo,
            {**BOTH, "name": "shop.Money"},
            "'shop.Money' of .*Foo is tests.shop.invoices.Money",
            id="taken",
        ),
        (Foo, {**BOTH, "aliases": "shop.money.Price"}, "'shop.money.Price' of .*Foo is"),
        (
            Foo,
            {**BOTH, "upgrade": {1: vars}},
            "upgrade: is for older versions, and the version is 1",
        ),
        (Foo, {**BOTH, "version": 3, "upgrade": {1: vars}}, r"up to 2, .*version=3, and has \[1\]"),
        (Foo, {**BOTH, "version": 2, "upgrade": {0: vars, 1: vars}}, "upgrade: must have"),
        (Foo, {**BOTH, "version": 2, "upgrade": [vars]}, "upgrade: must be a dict"),
        (Foo, {**BOTH, "version": 2, "upgrade": {1: None}}, r"upgrade\[1\] is missing"),
        pytest.param(
            Money,
            {**BOTH, "name": "shop.Cash"},
            "is registered as 'shop.Money' already",
            id="twice",
        ),
        (NeedsMore, {}, r"its constructor can't be called with its fields by name \(missing"),
        (str, BOTH, "builtins.str: its values are stored as they are"),
        (Decimal, BOTH, "decimal.Decimal: its values are stored as they are"),
        (Path, BOTH, "Path: its values are stored as they are"),
        (3, BOTH, "takes a class, not a int"),
    ],
)
def test_it_is_refused_and_nothing_is_registered(cls, options, text):
    before = dict(registry.by_name)
    with pytest.raises(InvalidOption, match=text):
        storable(**options)(cls)
    assert registry.by_name == before
    assert Foo not in registry.by_type


def test_a_class_without_a_name_of_its_own_needs_one():
    @dataclass
    class Local: ...

    with pytest.raises(InvalidOption, match=r"no name leads to it .*name="):
        storable(Local)
    storable(Local, name="shop.Local")
    assert load_value(dump_value(Local())) == Local()


def test_an_enum_needs_no_registration_except_one_out_of_reach():
    for cls in (Colour, Planet):
        with pytest.raises(InvalidOption, match="an Enum is stored by its members' names"):
            storable(cls)
    storable(Colour, store=lambda c: c.name, load=lambda name: Colour[name], name="shop.Colour")
    assert load_value(dump_value({Colour.RED})) == {Colour.RED}
