"""The table of the types that plain JSON doesn't have, and how each is stored."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import Model
from django.utils.functional import LazyObject, Promise

from .handed import Handed, load_handed
from .moments import dump_datetime, dump_time, load_datetime, load_time
from .references import dump_member, dump_row, load_member, load_row


class Kind(NamedTuple):
    """One row of the table.

    `dump` makes simpler parts of a value of `type`, which are stored under the `tag`; `load` makes
    the value of them. Without a tag they are stored in place of the value, and the type is lost.
    """

    type: type
    tag: str | None
    dump: Callable[[Any], Any]
    load: Callable[[Any], Any] | None = None
    indexed: bool = False
    """The path to a part ends in its index."""
    unordered: bool = False
    """The parts have no order of their own: they are sorted by their stored form."""


def _unwrapped(value: Any) -> Any:
    _, (wrapped,) = value.__reduce__()  # what pickling would store, evaluated if need be
    return wrapped


def _pairs(value: dict[Any, Any]) -> list[list[Any]]:
    return [[key, item] for key, item in value.items()]


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _clockwork(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


KINDS: Final = (
    # The first that fits is taken: a member of an Enum may be a string or a number too.
    Kind(Handed, "handed", lambda handed: handed.value, load_handed),
    Kind(Enum, "enum", dump_member, load_member),
    Kind(Promise, None, str),
    Kind(LazyObject, None, _unwrapped),
    # Subclasses of plain types are stored as what they are based on.
    Kind(str, None, str.__str__),
    Kind(int, None, int.__int__),
    Kind(float, None, float.__float__),
    Kind(list, None, list.copy),
    Kind(dict, None, dict.copy),
    # Of the plain types themselves, those values that JSON can't carry.
    Kind(int, "int", hex, partial(int, base=16)),
    Kind(float, "float", repr, float),
    Kind(dict, "dict", _pairs, dict),
    Kind(tuple, "tuple", list, tuple, indexed=True),
    Kind(set, "set", list, set, unordered=True),
    Kind(frozenset, "frozenset", list, frozenset, unordered=True),
    Kind(datetime, "datetime", dump_datetime, load_datetime),
    Kind(date, "date", date.isoformat, date.fromisoformat),
    Kind(time, "time", dump_time, load_time),
    Kind(timedelta, "timedelta", _clockwork, lambda parts: timedelta(*parts)),
    Kind(Decimal, "decimal", str, Decimal),
    Kind(UUID, "uuid", str, UUID),
    Kind(bytes, "bytes", _base64, partial(base64.b64decode, validate=True)),
    Kind(Model, "row", dump_row, load_row),
)

BY_TYPE: Final = {kind.type: kind for kind in KINDS if kind.tag is not None}
"""By type, the kind of values of exactly that type."""

LOADS: Final = {kind.tag: kind.load for kind in KINDS if kind.tag and kind.load}
"""By tag, the function that makes a value of the parts."""
