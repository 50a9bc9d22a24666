"""Values of a project's own types: stored under a registered name, and refused when unknown."""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from async_attempts import Arguments, storable
from async_attempts.exceptions import (
    AttemptsError,
    InvalidArguments,
    UnknownFormat,
    UnknownTarget,
    UnknownType,
    UnsupportedType,
)
from async_attempts.payload import (
    dump_arguments,
    dump_value,
    load_arguments,
    load_value,
)
from async_attempts.payload.registry import registry
from tests.floors.test_payload_kinds import values
from tests.shop.invoices import Coordinates, Invoice, Line, Money, State

CANARY = "canary_4929_1234"


@pytest.fixture(autouse=True)
def _registered_for_one_test():
    with mock.patch.dict(registry.by_type), mock.patch.dict(registry.by_name):
        yield


class Foo:
    def __repr__(self) -> str:
        return CANARY


def back(value: Any) -> Any:
    return load_value(dump_value(value))


def stored(value: Any) -> str:
    return dump_value(value).decode()


money = st.builds(Money, st.decimals(allow_nan=False), st.text())
parts = st.builds(Line, st.text(), money)
lines = st.builds(Line, st.text(), money, st.lists(parts, max_size=2))
paths = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
invoices = st.builds(
    Invoice,
    number=st.integers(),
    lines=st.lists(lines, max_size=2),
    state=st.sampled_from(State),
    paid=st.none() | money,
    scan=st.none() | paths.map(Path),
)
coordinates = st.builds(Coordinates, st.floats(allow_nan=False), st.floats(allow_nan=False))
path_types = st.sampled_from([Path, PurePosixPath, PureWindowsPath])
own = st.recursive(
    invoices | coordinates | money | st.builds(lambda cls, text: cls(text), path_types, paths),
    lambda parts: (
        st.lists(parts | values, max_size=3)
        | st.dictionaries(st.text(max_size=3), parts, max_size=3)
        | st.tuples(parts, values)
        | st.frozensets(money | coordinates, max_size=3)
        | st.dictionaries(money | coordinates, parts, max_size=2)
    ),
    max_leaves=4,
)


@settings(deadline=None)
@given(value=own)
def test_any_nesting_of_them_comes_back_equal_and_of_the_same_types(value):
    data = dump_value(value)
    loaded = load_value(data)
    assert loaded == value
    assert type(loaded) is type(value)
    assert dump_value(loaded) == data


def test_arguments_come_back():
    invoice = Invoice(number=7, lines=[Line("tea", Money(Decimal(3)))], scan=Path("/scans/7.pdf"))
    arguments = Arguments(invoice, at=Coordinates(1.5, 2.5), by_money={Money(Decimal(1)): {1}})
    assert load_arguments(dump_arguments(arguments)) == arguments


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (Money(Decimal("1.10")), '{"$":"shop.Money@2","v":{"amount":{"$":"decimal","v":"1.10"},'),
        (Coordinates(1.5, 2.0), '{"$":"shop.Coordinates@1","v":[1.5,2.0]}'),
        (Line("tea", Money(Decimal(1))), '{"$":"tests.shop.invoices.Line@1","v":{"text":"tea",'),
        (Path("a/b"), '{"$":"path","v":"a/b"}'),
        (PurePosixPath("/a"), '{"$":"posixpath","v":"/a"}'),
        (PureWindowsPath("C:\\a\\b"), '{"$":"windowspath","v":"C:/a/b"}'),
    ],
)
def test_the_stored_form_stays_readable_for_later_versions(value, form):
    assert stored(value).startswith(form)
    assert back(value) == value


@pytest.mark.parametrize("path", [Path("a"), PurePath("a"), PureWindowsPath("a")])
def test_a_path_comes_back_as_the_same_class(path):
    assert type(back(path)) is type(path)


def test_a_path_that_is_no_text_is_refused():
    with pytest.raises(UnsupportedType, match=r"^result: PosixPath of str .*lone surrogate"):
        dump_value(Path("a\udce9"))


# What isn't registered


@dataclass
class Undecorated:
    secret: str


class Cheap(Money):
    """A subclass is another type."""


def test_what_is_not_registered_is_refused_with_its_path_and_the_remedy():
    with pytest.raises(UnsupportedType) as caught:
        dump_arguments(Arguments(lines=[1, Undecorated(CANARY)]))
    assert str(caught.value) == (
        "kwargs.lines[1]: Undecorated can't be stored: decorate Undecorated with @storable."
    )
    with pytest.raises(UnsupportedType, match=r"^result\.a: Foo can't .*storable\(Foo, store=…"):
        dump_value({"a": Foo()})
    with pytest.raises(UnsupportedType, match=r"^result: Cheap can't be stored: decorate Cheap"):
        dump_value(Cheap(Decimal(1)))


@pytest.mark.parametrize(
    "value", [max, len, lambda: 1, Foo, object(), ValueError("x"), (1).__add__]
)
def test_no_remedy_is_told_where_there_is_none(value):
    with pytest.raises(UnsupportedType, match=r"can't be stored\.$"):
        dump_value(value)


def test_a_part_that_cannot_be_stored_is_named_by_its_field():
    invoice = Invoice(number=1, lines=[Line("tea", Money(Decimal(1))), Line("", Foo())])  # type: ignore[arg-type]
    with pytest.raises(UnsupportedType) as caught:
        dump_arguments(Arguments(invoice))
    assert str(caught.value).startswith("args[0].lines[1].price: Foo can't be stored")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


# Versions and names


class Point(NamedTuple):
    x: int
    y: int


def registered(cls: Any = None, **options: Any) -> Any:
    class Own:
        def __init__(self, data: Any) -> None:
            self.data = data

    given: dict[str, Any] = {
        "store": lambda own: own.data,
        "load": cls or Own,
        "name": "shop.Own",
    } | options
    return storable(cls or Own, **given)


def test_older_versions_are_upgraded_step_by_step():
    own = registered(
        version=3, upgrade={1: lambda data: [*data, "second"], 2: lambda data: [*data, "third"]}
    )
    assert back(own(["now"])).data == ["now"]
    for version, data in {1: ["x", "second", "third"], 2: ["x", "third"], 3: ["x"]}.items():
        assert load_value(f'{{"$":"shop.Own@{version}","v":["x"]}}'.encode()).data == data
    assert load_value(b'{"$":"shop.Money@1","v":{"euros":5}}') == Money(5, "EUR")  # type: ignore[arg-type]


def test_a_former_name_is_read_and_the_present_one_is_written():
    old = b'{"$":"shop.money.Price@2","v":{"amount":1}}'
    assert load_value(old) == Money(1)  # type: ignore[arg-type]
    assert "shop.Money@2" in stored(load_value(old))


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("shop.Gone@1", "No type is registered as 'shop.Gone' in this process"),
        ("os.PathLike@1", "No type is registered as 'os.PathLike'"),
        ("shop.Money@3", "shop.Money has version 3, and this code knows version 2"),
        ("shop.Own@1", "has version 1, and this code has version 3 without an upgrade from 1"),
    ],
    ids=["gone", "never registered", "newer", "too old"],
)
def test_what_this_code_does_not_know_is_as_an_unknown_target(tag, text):
    registered(version=3, upgrade={2: lambda data: data})
    with pytest.raises(UnknownType, match=text) as caught:
        load_value(f'{{"$":"{tag}","v":"{CANARY}"}}'.encode())
    assert isinstance(caught.value, UnknownTarget)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_no_name_that_is_stored_is_imported():
    with pytest.raises(UnknownType):
        load_value(b'{"$":"tests.shop.never_imported.Anything@1","v":{}}')
    assert "tests.shop.never_imported" not in sys.modules


@pytest.mark.parametrize(
    "tag",
    [
        *("@", "@1", "shop.Money@", "shop.Money@0", "shop.Money@01", "shop.Money@-1"),
        *("shop.Money@1.5", "shop.Money@1234567890", "shop.Money@²", "shop..Money@1"),
        *(f"{CANARY} x@1", "a" * 256 + "@1"),
    ],
)
def test_a_corrupt_tag_is_refused_without_showing_it(tag):
    with pytest.raises(InvalidArguments) as caught:
        load_value(f'{{"$":"{tag}","v":1}}'.encode())
    assert "names no type and version" in str(caught.value)


def test_a_tag_without_a_version_is_a_newer_release_s():
    with pytest.raises(UnknownFormat):
        load_value(b'{"$":"shop.Money","v":1}')


@pytest.mark.parametrize("value", [{"$": "shop.Money@2", "v": {"amount": 1}}, {"$": "shop.Own@1"}])
def test_a_dict_that_looks_like_one_stays_a_dict(value):
    assert back(value) == value
    assert back([value, Money(Decimal(1))]) == [value, Money(Decimal(1))]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (f'{{"amount":1,"{CANARY}":2}}', r"has a field .*raise version=, and say by upgrade="),
        ('{"currency":"EUR"}', "lacks the field 'amount'.*by upgrade="),
        (f'"{CANARY}"', "reading it raised AttributeError in storable.py"),
        (f'["{CANARY}"]', "reading it raised AttributeError"),
    ],
)
def test_fields_that_do_not_fit_are_told_without_their_values(data, text):
    with pytest.raises(UnknownType, match=text) as caught:
        load_value(f'{{"$":"shop.Money@2","v":{data}}}'.encode())
    assert CANARY not in "".join(traceback.format_exception(caught.value))


# Dataclasses


@dataclass
class Derived:
    width: int
    area: int = field(init=False)
    shape: InitVar[str] = "square"

    def __post_init__(self, shape: str) -> None:
        self.area = self.width**2


def test_fields_that_the_class_fills_in_are_not_stored():
    storable(name="shop.Derived")(Derived)
    assert stored(Derived(3)) == '{"$":"shop.Derived@1","v":{"width":3}}'
    assert back(Derived(3)) == Derived(3)


def test_a_field_with_a_default_may_be_added():
    assert load_value(b'{"$":"shop.Money@2","v":{"amount":1}}') == Money(1)  # type: ignore[arg-type]


def test_a_registered_subclass_of_a_plain_type_is_stored_as_itself():
    class Slug(str):
        __slots__ = ()

    assert type(back(Slug("a"))) is str
    storable(Slug, store=str, load=Slug, name="shop.Slug")
    assert type(back([Slug("a")])[0]) is Slug
    storable(Point, store=list, load=lambda data: Point(*data), name="shop.Point")
    assert back(Point(1, 2)) == Point(1, 2)
    assert type(back(Point(1, 2))) is Point


def test_a_decorator_returns_the_class_and_so_does_the_function():
    class Own: ...

    options: dict[str, Any] = {"store": vars, "load": Own, "name": "shop.Own"}
    assert storable(**options)(Own) is Own
    assert storable(Own, **options) is Own


def test_a_module_that_is_reloaded_registers_its_types_again():
    first, second = registered(), registered()
    assert first is not second
    assert type(back(first(1))) is second


@settings(deadline=None)
@given(
    name=st.sampled_from(["shop.Money", "shop.Coordinates", "tests.shop.invoices.Invoice"]),
    version=st.integers(1, 3),
    parts=values,
)
def test_a_tag_over_anything_loads_as_a_value_or_is_refused(name, version, parts):
    data = stored({"tag": parts}).replace('{"tag":', f'{{"$":"{name}@{version}","v":', 1)
    with suppress(AttemptsError):  # any other error fails this test
        load_value(data.encode())
