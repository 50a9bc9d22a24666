"""`Arguments`: what a call is given, without ever showing it."""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType

import pytest

from async_attempts.exceptions import InvalidArguments
from async_attempts.payload import Arguments


@pytest.mark.parametrize(
    ("method_args", "expected"),
    [
        (None, Arguments()),
        ({}, Arguments()),
        ([], Arguments()),
        ({"number": 1}, Arguments(number=1)),
        (OrderedDict(number=1), Arguments(number=1)),
        (MappingProxyType({"number": 1}), Arguments(number=1)),
        ([1, [2]], Arguments(1, [2])),
        ((1, [2]), Arguments(1, [2])),
        (Arguments(1, number=2), Arguments(1, number=2)),
    ],
    ids=lambda part: f"{type(part).__name__}-{part!r}",
)
def test_arguments_are_made_of_what_method_args_takes(method_args, expected):
    assert Arguments.of(method_args) == expected


@pytest.mark.parametrize(
    "method_args", ["canary", b"canary", {"canary"}, 5, iter(["canary"])], ids=type
)
def test_anything_else_is_refused_by_its_type_and_not_its_value(method_args):
    with pytest.raises(InvalidArguments, match=f"not {type(method_args).__name__}") as caught:
        Arguments.of(method_args)
    assert "canary" not in str(caught.value)


def test_a_mapping_with_a_key_that_is_no_string_is_refused():
    with pytest.raises(InvalidArguments, match="must be str, not int"):
        Arguments.of({"number": 1, 2: 3})


def test_a_keyword_may_have_any_name():
    arguments = Arguments(self=1, cls=2, args=3, kwargs=4)
    assert arguments.kwargs == {"self": 1, "cls": 2, "args": 3, "kwargs": 4}


def test_arguments_differ_by_position_and_by_name():
    assert Arguments(1) != Arguments(number=1)
    assert Arguments(1, 2) != Arguments(2, 1)
    assert Arguments(a=1, b=2) == Arguments(b=2, a=1)
    assert Arguments(1) != (1,)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (Arguments(), "Arguments()"),
        (Arguments("canary"), "Arguments(1 positional)"),
        (Arguments(token="canary"), "Arguments(token=…)"),
        (Arguments("canary", 2, token="canary", n=1), "Arguments(2 positional, token=…, n=…)"),
    ],
)
def test_the_repr_has_names_and_no_values(arguments, expected):
    assert repr(arguments) == expected
