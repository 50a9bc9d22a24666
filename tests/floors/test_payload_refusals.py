"""What can't be stored is refused with the path to it, and without its value."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from async_attempts.exceptions import (
    AttemptsError,
    InvalidArguments,
    UnknownFormat,
    UnsupportedType,
)
from async_attempts.payload import (
    MAX_DEPTH,
    Arguments,
    dump_arguments,
    dump_value,
    load_arguments,
    load_value,
)
from tests.shop.models import Order

CANARY = "canary_4929_1234"
TAGS = """
    int float dict tuple set frozenset datetime date time timedelta decimal uuid bytes
    path posixpath windowspath
""".split()


class Foo:
    def __repr__(self) -> str:
        return CANARY


class Pretender(Foo):
    """As proxies and mocks do."""

    __class__: Any = str


FOO = Foo()
CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@contextmanager
def refused(error: type[AttemptsError]) -> Iterator[list[str]]:
    """Gives the error's text; fails if the text or the traceback shows a value."""
    text: list[str] = []
    with pytest.raises(error) as caught:
        yield text
    text.append(str(caught.value))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@contextmanager
def max_args_bytes(limit: int) -> Iterator[None]:
    changed = {**django_settings.ASYNC_ATTEMPTS, "MAX_ARGS_BYTES": limit}
    with override_settings(ASYNC_ATTEMPTS=changed):
        yield


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (Arguments(1, FOO), "args[1]: Foo can't be stored"),
        (Arguments(callback=max), "kwargs.callback: builtin_function_or_method can't"),
        (Arguments(callback=lambda: CANARY), "kwargs.callback: function can't"),
        (Arguments(model=Order), "kwargs.model: ModelBase can't"),
        (Arguments(order={"lines": [{FOO}]}), "kwargs.order.lines[0]: set of Foo can't"),
        (Arguments(order={"lines": [1, [FOO]]}), "kwargs.order.lines[1][0]: Foo can't"),
        (Arguments(pair=(1, {"a": FOO})), "kwargs.pair[1].a: Foo can't"),
        (Arguments(both={(1, frozenset([FOO]))}), "kwargs.both: set of frozenset of Foo can't"),
        (Arguments(by_id={1: {"a": FOO}}), "kwargs.by_id: dict of Foo can't"),
        (Arguments(by_foo={FOO: 1}), "kwargs.by_foo: dict of Foo can't"),
        (Arguments(by_mail={CANARY + "@example.com": FOO}), "kwargs.by_mail[…]: Foo can't"),
        (Arguments(order=Order(status=CANARY)), "kwargs.order: unsaved shop.Order can't"),
        (Arguments(order=Order(pk=5)), "kwargs.order: unsaved shop.Order can't"),
        (Arguments(text=CANARY + "\ud800"), "kwargs.text: str can't be stored: it holds a lone"),
        (Arguments(texts={"\ud800": 1}), "kwargs.texts[…]: str can't be stored: it holds a lone"),
        (Arguments(**{"$": FOO}), "kwargs: dict of Foo can't"),
        (Arguments(text=Pretender()), "kwargs.text: Pretender can't"),
        (Arguments(view=memoryview(b"canary")), "kwargs.view: memoryview can't"),
        (Arguments(error=ValueError(CANARY)), "kwargs.error: ValueError can't"),
    ],
)
def test_the_error_names_the_path_and_the_type(arguments, path):
    with refused(UnsupportedType) as text:
        dump_arguments(arguments)
    assert text[0].startswith(path)


def test_a_result_is_called_so():
    with refused(UnsupportedType) as text:
        dump_value({"lines": [FOO]})
    assert text[0].startswith("result.lines[0]: Foo can't be stored")


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_the_deepest_that_is_stored_is_loaded():
    arguments = Arguments(nested(MAX_DEPTH - 2))
    assert load_arguments(dump_arguments(arguments)) == arguments


@pytest.mark.parametrize(
    "tree",
    [nested(MAX_DEPTH - 1), nested(100_000), CYCLE, {"children": (CYCLE,)}],
    ids=["by one", "by far", "a cycle", "a cycle in others"],
)
def test_what_is_too_deep_is_not_stored(tree):
    with refused(InvalidArguments) as text:
        dump_arguments(Arguments(1, tree=tree))
    assert text[0].startswith("kwargs.tree")
    assert f"{MAX_DEPTH} brackets" in text[0]


@pytest.mark.parametrize(
    "wrap",
    [lambda v: (v,), lambda v: frozenset([v]), lambda v: {1: v}, lambda v: {"$": v}],
    ids=["tuple", "frozenset", "dict", "tag"],
)
def test_whatever_depth_of_tagged_values_is_stored_is_loaded(wrap):
    value, deepest = 1, None
    with pytest.raises(InvalidArguments, match="too deep"):  # noqa: PT012 which level, is open
        for _ in range(MAX_DEPTH):
            value = wrap(value)
            deepest = (dump_value(value), value)
    assert deepest is not None
    assert load_value(deepest[0]) == deepest[1]


@pytest.mark.parametrize("load", [load_arguments, load_value])
@pytest.mark.parametrize(
    "data",
    [
        b"[" * (MAX_DEPTH + 1),
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'["\\"]",' + b"[" * MAX_DEPTH,
        b"[[" + b"[],{}," * MAX_DEPTH + b"[" * MAX_DEPTH,
    ],
    ids=["by one", "brackets", "braces", "after a string", "after siblings"],
)
def test_what_is_too_deep_is_refused_before_it_is_parsed(load, data):
    # None of these is JSON; a parser would say so.
    with refused(InvalidArguments) as text:
        load(data)
    assert "nested deeper" in text[0]


@given(texts=st.lists(st.text('[]{}"\\x', min_size=MAX_DEPTH), min_size=1))
def test_brackets_within_strings_are_no_depth(texts):
    assert load_value(dump_value(texts)) == texts


@pytest.mark.parametrize("end", [b"", b"\\", b'\\"' * 30_000])
def test_an_open_string_hides_what_follows_it(end):
    with refused(InvalidArguments) as text:
        load_value(b'"' + b"[" * 100 + end)
    assert "corrupt" in text[0]


def test_many_shallow_values_are_stored():
    arguments = Arguments(lines=[{"n": [1]}] * 1000)
    assert load_arguments(dump_arguments(arguments)) == arguments


def test_arguments_may_be_as_large_as_the_setting_says_and_no_larger():
    with max_args_bytes(100):
        fits = Arguments("x" * (100 - len('[[""],{}]')))
        assert len(dump_arguments(fits)) == 100
        assert load_arguments(dump_arguments(fits)) == fits
        with refused(InvalidArguments):
            dump_arguments(Arguments(fits.args[0] + "x"))


def test_the_error_of_arguments_that_are_too_large_names_the_largest_part():
    arguments = Arguments("a", token="b", document=CANARY * 5000, c="d")
    with refused(InvalidArguments) as text:
        dump_arguments(arguments)
    size = len(CANARY) * 5000
    assert f"kwargs.document with {size + 2:,}" in text[0]
    assert "65,536" in text[0]
    assert "ASYNC_ATTEMPTS['MAX_ARGS_BYTES']" in text[0]
    with refused(InvalidArguments) as text:
        dump_arguments(Arguments(*arguments.args, arguments.kwargs["document"]))
    assert f"args[1] with {size + 2:,}" in text[0]


def test_arguments_that_are_too_large_are_refused_before_they_are_parsed():
    with refused(InvalidArguments) as text:
        load_arguments(CANARY.encode() * 5000)
    assert "ASYNC_ATTEMPTS['MAX_ARGS_BYTES']" in text[0]
    with max_args_bytes(100_000), refused(InvalidArguments) as text:
        load_arguments(CANARY.encode() * 5000)
    assert "corrupt" in text[0]


def test_even_no_arguments_can_be_too_large():
    with max_args_bytes(1), refused(InvalidArguments):
        dump_arguments(Arguments())


def test_a_result_may_be_of_any_size():
    with max_args_bytes(10):
        assert load_value(dump_value("x" * 100)) == "x" * 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        CANARY.encode(),
        f'[["{CANARY}"],{{}}'.encode(),
        f'["{CANARY}\xff"]'.encode("latin-1"),
        '["é"]'.encode("utf-16"),
        b"[NaN]",
        b"[-Infinity]",
        b"[" + b"9" * 5000 + b"]",
        b'{"$":["set"],"v":1}',
        b'{"$":null,"v":1}',
        b'{"$":"set"}',
        b'{"$":"set","v":[],"w":1}',
        b'{"$":"set","v":[[]]}',
        b'{"$":"dict","v":[[{},1]]}',
        b'{"$":"datetime","v":["2024-01-01T00:00:00+00:00","canary_4929_1234/Berlin"]}',
        b'{"$":"datetime","v":["2024-01-01T00:00:00+00:00","Europe"]}',
        b'{"$":"decimal","v":"canary_4929_1234"}',
        b'{"$":"bytes","v":"canary_4929_1234!"}',
        b'{"$":"enum","v":["async_attempts.exceptions.Fail","__init__"]}',
        b'{"$":"enum","v":["async_attempts.lifecycle.Status","PENDING","FAILED"]}',
        b'{"$":"row","v":["canary_4929_1234",1,"default"]}',
        b'{"$":"row","v":["shop.Order","canary_4929_1234","default"]}',
        b'{"$":"row","v":["async_attempts.Attempt","canary_4929_1234","default"]}',
    ],
)
def test_corrupt_bytes_are_refused_without_showing_them(data):
    with refused(InvalidArguments):
        load_value(data)


@pytest.mark.parametrize(
    "data",
    [
        f'[[{{"$":"{CANARY}","v":1}}],{{}}]'.encode(),
        b'[[{"$":"handed","v":"canary_4929_1234"}],{}]',
        b'[[],{},"canary_4929_1234","b"]',
        b"[[],{},{}]",
    ],
)
def test_the_forms_of_a_newer_release_are_told_from_corrupt_ones(data):
    with refused(UnknownFormat):
        load_arguments(data)


@pytest.mark.parametrize(
    "data",
    [b"1", b"[]", b"[[]]", b"{}", b"[{},[]]", b'[[],{"$":"dict","v":[[1,2]]}]'],
)
def test_what_is_no_arguments_is_not_loaded_as_such(data):
    with refused(InvalidArguments):
        load_arguments(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=2), parts),
    max_leaves=4,
)


@settings(deadline=None)
@given(tag=st.sampled_from([*TAGS, "enum", "row"]), parts=json_values)
def test_a_tag_over_anything_loads_as_a_value_or_is_refused(tag, parts):
    data = dump_value({"tag": parts}).replace(b'{"tag":', f'{{"$":"{tag}","v":'.encode(), 1)
    with suppress(AttemptsError):  # any other error fails this test
        load_value(data)


@pytest.mark.parametrize(
    "forged",
    [
        {"$": "decimal", "v": "1"},
        {"$": "enum", "v": ["async_attempts.lifecycle.Status", "PENDING"]},
        {"$": "dict", "v": [["$", 1]]},
        {"$": {"$": {"$": "uuid", "v": "x"}}},
        {"v": [{"$": "row", "v": ["shop.Order", 1, "default"]}]},
        '{"$":"decimal","v":"1"}',
        ["$", "v"],
        {"\\u0024": 1, '"$"': Decimal(1)},
    ],
)
def test_a_value_that_looks_like_a_tagged_one_stays_what_it_is(forged):
    assert load_value(dump_value(forged)) == forged
    arguments = Arguments([forged], forged=forged, both=(Decimal(1), forged))
    assert load_arguments(dump_arguments(arguments)) == arguments
    if isinstance(forged, dict):
        assert load_arguments(dump_arguments(Arguments(**forged))).kwargs == forged
