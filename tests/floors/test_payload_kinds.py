"""What is stored comes back: the same value, of the same type."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, defaultdict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy, override
from hypothesis import given, settings
from hypothesis import strategies as st

from async_attempts.lifecycle import Status
from async_attempts.payload import (
    Arguments,
    dump_arguments,
    dump_value,
    load_arguments,
    load_value,
)

BERLIN = ZoneInfo("Europe/Berlin")
Point = namedtuple("Point", "x y")  # noqa: PYI024 a tuple like any other


class Rate(float):
    def __repr__(self) -> str:
        return f"a rate of {float(self)}"


moments = st.datetimes(timezones=st.none() | st.timezones() | st.just(UTC), allow_imaginary=True)
# Whole seconds: Python's own fromisoformat loses an offset of less than one.
offsets = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers().map(lambda number: number << 2000)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | moments
    | st.datetimes(timezones=offsets)
    | st.dates()
    | st.times(timezones=st.none() | offsets)
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.sampled_from(Status),
    lambda parts: st.tuples(parts, parts) | st.frozensets(parts, max_size=3),
    max_leaves=4,
)
tag_like = st.sampled_from(["$", "v", "$$", "kwargs"]) | st.text(max_size=3)
values = st.recursive(
    hashable,
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.sets(hashable, max_size=3)
        | st.dictionaries(tag_like, parts, max_size=3)
        | st.dictionaries(hashable, parts, max_size=3)
        | st.lists(parts, max_size=3).map(tuple)
    ),
    max_leaves=12,
)


def strict(data: bytes) -> Any:
    """Parsed as nothing but JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(data.decode(), parse_constant=refuse)


@settings(deadline=None)
@given(value=values)
def test_any_nesting_of_values_comes_back_equal_and_of_the_same_types(value):
    data = dump_value(value)
    strict(data)
    loaded = load_value(data)
    assert loaded == value
    # Equal in Python are also 1, 1.0 and True: the bytes tell them apart.
    assert dump_value(loaded) == data


@settings(deadline=None)
@given(args=st.lists(values, max_size=3), kwargs=st.dictionaries(tag_like, values, max_size=3))
def test_arguments_come_back(args, kwargs):
    arguments = Arguments(*args, **kwargs)
    data = dump_arguments(arguments)
    assert load_arguments(data) == arguments
    assert dump_arguments(load_arguments(data)) == data


def test_plain_arguments_are_compact_json():
    data = dump_arguments(Arguments(1, "é", number=1.5, lines=[True, None, {"a\0": []}]))
    expected = '[[1,"é"],{"number":1.5,"lines":[true,null,{"a\\u0000":[]}]}]'
    assert data == expected.encode()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (
            datetime(2024, 5, 6, 7, 8, 9),  # noqa: DTZ001 it comes back as naive
            '{"$":"datetime","v":["2024-05-06T07:08:09",null]}',
        ),
        (
            datetime(2024, 5, 6, 7, tzinfo=BERLIN),
            '{"$":"datetime","v":["2024-05-06T07:00:00+02:00","Europe/Berlin"]}',
        ),
        (date(2024, 5, 6), '{"$":"date","v":"2024-05-06"}'),
        (time(7, 8), '{"$":"time","v":["07:08:00",null]}'),
        (timedelta(1, 2, 3), '{"$":"timedelta","v":[1,2,3]}'),
        (Decimal("1.10"), '{"$":"decimal","v":"1.10"}'),
        (UUID(int=1), '{"$":"uuid","v":"00000000-0000-0000-0000-000000000001"}'),
        (b"\0\xff", '{"$":"bytes","v":"AP8="}'),
        ({2, 1}, '{"$":"set","v":[1,2]}'),
        (frozenset([2, 1]), '{"$":"frozenset","v":[1,2]}'),
        ((1, (2,)), '{"$":"tuple","v":[1,{"$":"tuple","v":[2]}]}'),
        (Status.PENDING, '{"$":"enum","v":["async_attempts.lifecycle.Status","PENDING"]}'),
        ({1: 2}, '{"$":"dict","v":[[1,2]]}'),
        ({"$": "date", "v": "x"}, '{"$":"dict","v":[["$","date"],["v","x"]]}'),
        (math.inf, '{"$":"float","v":"inf"}'),
        (16**600, '{"$":"int","v":"0x1' + "0" * 600 + '"}'),
    ],
)
def test_the_stored_form_of_each_kind_stays_readable_for_later_versions(value, stored):
    assert dump_value(value).decode() == stored
    loaded = load_value(stored.encode())
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Point(1, 2), (1, 2)),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (mark_safe("<b>"), "<b>"),
        (type("Count", (int,), {})(3), 3),
        (Rate(0.5), 0.5),
        (Rate("inf"), math.inf),
        (type("Lines", (list,), {})([1]), [1]),
        (SimpleLazyObject(lambda: {"a": 1}), {"a": 1}),
        (SimpleLazyObject(partial(Decimal, "1.5")), Decimal("1.5")),
    ],
    ids=lambda value: f"{type(value).__name__} {value}",
)
def test_a_subclass_is_stored_as_what_it_is_based_on(value, base):
    loaded = load_value(dump_value(value))
    assert loaded == base
    assert type(loaded) is type(base)


def test_a_lazy_translation_is_stored_in_the_language_of_the_caller():
    with override("de"):
        data = dump_value({"day": gettext_lazy("Monday")})
    assert load_value(data) == {"day": "Montag"}


@pytest.mark.parametrize("value", [math.nan, Decimal("NaN"), Decimal("sNaN")])
def test_what_is_not_a_number_comes_back_as_such(value):
    loaded = load_value(dump_value(value))
    assert type(loaded) is type(value)
    assert str(loaded) == str(value)


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_comes_twice_is_told_apart(fold):
    moment = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=fold)
    loaded = load_value(dump_value(moment))
    assert loaded.astimezone(UTC) == moment.astimezone(UTC)
    assert loaded.tzinfo is BERLIN


@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_that_the_clock_skips_comes_back_as_it_was_written(fold):
    moment = datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN, fold=fold)
    loaded = load_value(dump_value(moment))
    assert (loaded, loaded.fold) == (moment, fold)


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    "moment",
    [datetime(2024, 10, 27, 2, 30), time(2, 30), time(2, 30, tzinfo=BERLIN)],  # noqa: DTZ001
    ids=["naive datetime", "time", "time of a zone"],
)
def test_a_fold_that_no_offset_tells_comes_back(moment, fold):
    loaded = load_value(dump_value(moment.replace(fold=fold)))
    assert (loaded, loaded.fold, loaded.tzinfo) == (moment, fold, moment.tzinfo)


def test_what_was_stored_without_a_fold_is_read():
    assert load_value(b'{"$":"time","v":["02:30:00",null]}') == time(2, 30)


def test_the_instant_is_kept_when_the_rules_of_the_zone_have_changed_since():
    stored = b'{"$":"datetime","v":["2024-07-01T12:00:00+05:00","Europe/Berlin"]}'
    loaded = load_value(stored)
    assert loaded.astimezone(UTC) == datetime(2024, 7, 1, 7, tzinfo=UTC)
    assert loaded.tzinfo is BERLIN


def test_a_time_of_day_keeps_its_zone():
    loaded = load_value(dump_value(time(7, 30, tzinfo=BERLIN)))
    assert (loaded, loaded.tzinfo) == (time(7, 30, tzinfo=BERLIN), BERLIN)


@pytest.mark.parametrize("kind", [set, frozenset])
def test_the_order_in_which_a_set_is_walked_does_not_show(kind):
    one, other = kind([0, 8, "a"]), kind(["a", 8, 0])
    assert list(one) != list(other)
    assert dump_value(one) == dump_value(other)


def test_the_order_of_a_dict_is_kept():
    value = {3: "a", 1: "b", 2: "c"}
    assert list(load_value(dump_value(value))) == [3, 1, 2]
    assert list(load_value(dump_value({"b": 1, "a": 2}))) == ["b", "a"]
