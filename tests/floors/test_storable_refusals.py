"""A project's `store`, `load` and `upgrade` that raise or return too much: told without values."""

from __future__ import annotations

import traceback
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError

from async_attempts import Arguments
from async_attempts.exceptions import InvalidArguments, UnknownType, UnsupportedType
from async_attempts.payload import MAX_DEPTH, dump_arguments, dump_value, load_value
from async_attempts.payload.registry import registry
from tests.floors.test_storable import back, registered, stored
from tests.shop.invoices import Line, Money
from tests.shown import CANARY, shown_by


@pytest.fixture(autouse=True)
def _registered_for_one_test():
    with mock.patch.dict(registry.by_type), mock.patch.dict(registry.by_name):
        yield


def refuse(value: Any) -> Any:
    raise ValueError(f"{CANARY} {value}")


def no_database(value: Any) -> Any:
    raise OperationalError("away")


def test_a_store_that_raises_is_refused_by_path_without_its_text():
    own = registered(store=refuse)
    with pytest.raises(UnsupportedType) as caught:
        dump_arguments(Arguments(items=[own(CANARY)]))
    text = str(caught.value)
    assert text.startswith(
        "kwargs.items[0]: Own can't be stored: storing it raised ValueError in test_st"
    )
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert not shown_by(caught.value, but=__name__)


@pytest.mark.parametrize(
    "options", [{"load": refuse}, {"version": 2, "upgrade": {1: refuse}}], ids=["load", "upgrade"]
)
def test_a_load_or_an_upgrade_that_raises_is_told_without_its_text(options):
    registered(**options)
    with pytest.raises(UnknownType) as caught:
        load_value(f'{{"$":"shop.Own@1","v":"{CANARY}"}}'.encode())
    assert "of version 1 can't be read: reading it raised ValueError in test_stor" in str(
        caught.value
    )
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert not shown_by(caught.value, but=__name__)


def test_a_load_that_returns_something_else_is_told():
    registered(load={}.get)
    with pytest.raises(UnknownType, match="its load returned a NoneType"):
        load_value(b'{"$":"shop.Own@1","v":1}')


@pytest.mark.parametrize("option", ["store", "load"])
def test_a_lost_database_stays_an_error_of_the_database(option):
    own = registered(**{option: no_database})
    with pytest.raises(OperationalError):
        back(own(1))


# Limits


def test_what_store_returns_is_held_to_the_limit_of_depth():
    endless = registered(store=lambda own: [own, own])
    with pytest.raises(InvalidArguments, match=f"{MAX_DEPTH} brackets"):
        dump_arguments(Arguments(endless(1)))
    itself = registered(store=lambda own: own)
    with pytest.raises(InvalidArguments, match=f"{MAX_DEPTH} brackets"):
        dump_arguments(Arguments(itself(1)))
    line = Line("", Money(Decimal(1)))
    line.parts.append(line)
    with pytest.raises(InvalidArguments, match="contains itself"):
        dump_value(line)


def test_what_store_returns_is_held_to_the_limit_of_size():
    own = registered(store=lambda own: own.data)
    with pytest.raises(InvalidArguments, match=r"largest part is kwargs\.own with 90,0") as caught:
        dump_arguments(Arguments(1, own=own(CANARY * 5000)))
    assert CANARY not in str(caught.value)


def test_any_depth_that_is_stored_is_loaded():
    line, deepest = Line("", Money(Decimal(1))), b""
    with pytest.raises(InvalidArguments, match="too deep"):  # noqa: PT012 which level, is open
        for _ in range(MAX_DEPTH):
            deepest = dump_value(line)
            line = Line("", Money(Decimal(1)), [line])
    assert stored(load_value(deepest)) == deepest.decode()
