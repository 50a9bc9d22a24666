"""Values to plain JSON data and back: tags for the types that JSON doesn't have."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from functools import partial, reduce
from math import isfinite
from operator import or_
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model
from django.utils.functional import LazyObject, Promise

from ..exceptions import AttemptsError, InvalidArguments, UnknownFormat, UnknownTarget
from ..imports import import_class
from ..instances import load_instance
from .arguments import Handed
from .json import encode
from .limits import MAX_DEPTH, TooDeepError, UnstorableError, by_index, by_key
from .registry import SEPARATOR, StoredType, registry

TAG: Final = "$"
PARTS: Final = "v"

# Fewer bits than the smallest limit that Python can be given for integers in decimal, 640 digits.
MAX_INT_BITS: Final = 2_000

_LARGEST_FLAT: Final = 2**63
_FLAT: Final = frozenset({str, bool, type(None)})

_CORRUPT: Final = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    ValidationError,
)


def to_plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as plain data, within `depth` open brackets. Raises UnstorableError."""
    return _dump_of(type(value), _other)(value, depth)


def is_flat(values: Iterable[Any]) -> bool:
    """Return True if JSON carries each value as it is, except text that can't be encoded."""
    for value in values:
        kind = type(value)
        if kind is int:
            if not -_LARGEST_FLAT <= value <= _LARGEST_FLAT:
                return False
        elif kind not in _FLAT:
            return False
    return True


def is_native(cls: type) -> bool:
    """Return True if values of exactly this class are stored without being registered."""
    return cls in _PLAIN or cls in _BY_TYPE


def from_plain(found: dict[str, Any]) -> Any:
    """Return the value of a tagged object whose parts are loaded; any other object as it is.

    Raises InvalidArguments, UnknownFormat, or what looking up a type, a class or a row raises.
    """
    if TAG not in found:
        return found
    tag = found[TAG]
    if found.keys() != {TAG, PARTS} or not isinstance(tag, str):
        raise InvalidArguments("A stored tagged value is corrupt: it has other parts.")
    if tag not in _LOADS:
        if SEPARATOR in tag:
            return registry.load(tag, found[PARTS])
        raise UnknownFormat(
            "The stored value holds a tag that this release doesn't know; a newer one may have "
            "written it.",
            "an unknown tag",
        )
    try:
        return _LOADS[tag](found[PARTS])
    except AttemptsError:
        raise
    except _CORRUPT as error:
        name = type(error).__name__  # Its text may quote the value.
    raise InvalidArguments(f"A stored {tag} can't be read ({name}).")


def _str(value: str, _depth: int) -> str:
    if value.isascii():
        return value
    with suppress(UnicodeEncodeError):
        value.encode()
        return value
    raise UnstorableError("str", "it holds a lone surrogate, which is no text.")


def _int(value: int, depth: int) -> Any:
    return value if value.bit_length() <= MAX_INT_BITS else _tagged(_BY_TYPE[int], value, depth)


def _float(value: float, depth: int) -> Any:
    return value if isfinite(value) else _tagged(_BY_TYPE[float], value, depth)


def _itself(value: Any, _depth: int) -> Any:
    return value


def _list(items: list[Any], depth: int) -> list[Any]:
    _require_room(depth)
    plain = []
    for index, item in enumerate(items):
        try:
            plain.append(_dump_of(type(item), _other)(item, depth + 1))
        except UnstorableError as error:
            error.path.append(by_index(index))
            raise
    return plain


def _dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    _require_room(depth)
    plain = {}
    for key, item in value.items():
        if type(key) is not str or key == TAG:
            return _tagged(_BY_TYPE[dict], value, depth)
        try:
            plain[_str(key, depth)] = _dump_of(type(item), _other)(item, depth + 1)
        except UnstorableError as error:
            error.path.append(by_key(key))
            raise
    return plain


def _require_room(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise TooDeepError


_PLAIN: Final[dict[type, Callable[[Any, int], Any]]] = {
    str: _str,
    int: _int,
    float: _float,
    bool: _itself,
    type(None): _itself,
    list: _list,
    dict: _dict,
}
_dump_of: Final = _PLAIN.get


def _other(value: Any, depth: int) -> Any:
    kind = _BY_TYPE.get(type(value))
    if kind is None:
        if (registered := _registered(type(value))) is not None:
            return _of_registered(registered, value, depth)
        kind = _kind_of(value)
    if kind.tag is None:
        return to_plain(kind.dump(value), depth)
    return _tagged(kind, value, depth)


def _kind_of(value: Any) -> Kind:
    for kind in KINDS:
        if issubclass(type(value), kind.type):  # isinstance would believe a proxy
            return kind
    raise UnstorableError(type(value).__name__, _remedy(type(value)))


def _remedy(cls: type) -> str:
    """Return what a project can do about values of a class; "" for functions, classes and such."""
    if cls.__module__ == "builtins" or issubclass(cls, type):
        return ""
    name = cls.__name__
    if is_dataclass(cls):
        return f"decorate {name} with @storable."
    return f"decorate {name} with @storable, or register it: storable({name}, store=…, load=…)."


def _of_registered(registered: StoredType, value: Any, depth: int) -> dict[str, Any]:
    _require_room(depth)
    return {TAG: registered.tag, PARTS: to_plain(registered.data_of(value), depth + 1)}


def _tagged(kind: Kind, value: Any, depth: int) -> dict[str, Any]:
    _require_room(depth)
    simpler = kind.dump(value)
    try:
        parts = to_plain(simpler, depth + 1)
    except UnstorableError as error:
        if not kind.indexed:
            error.what = f"{type(value).__name__} of {error.what}"
            error.path.clear()
        raise
    if kind.unordered:
        parts.sort(key=encode)
    return {TAG: kind.tag, PARTS: parts}


class Kind(NamedTuple):
    """The way in which the values of one type are stored.

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


def _timedelta_parts(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _handed_by(value: str) -> Handed:
    try:
        return Handed(value)
    except ValueError:
        raise UnknownFormat(
            "The stored arguments are to be handed something that this release doesn't know; a "
            "newer one may have written them.",
            "an unknown kind of result",
        ) from None


def _time_parts(moment: datetime | time) -> list[Any]:
    """Return ISO 8601, the zone's key if it has one, and 1 for a fold that no offset tells."""
    zone = moment.tzinfo
    key = zone.key if isinstance(zone, ZoneInfo) else None
    fold = [1] if moment.fold and moment.utcoffset() is None else []
    return [moment.isoformat(), key, *fold]


def _datetime(parts: tuple[Any, ...]) -> datetime:
    """Return the same instant in its zone, whose offset may have changed since."""
    text, zone_key, *fold = parts
    moment = datetime.fromisoformat(text).replace(fold=len(fold))
    if zone_key is None:
        return moment
    zone = _zone(zone_key)
    for either in (0, 1):
        same_clock = moment.replace(tzinfo=zone, fold=either)
        if same_clock.utcoffset() == moment.utcoffset():
            return same_clock
    return moment.astimezone(zone)


def _time(parts: tuple[Any, ...]) -> time:
    text, zone_key, *fold = parts
    moment = time.fromisoformat(text).replace(fold=len(fold))
    return moment if zone_key is None else moment.replace(tzinfo=_zone(zone_key))


def _zone(key: str) -> ZoneInfo:
    try:
        return ZoneInfo(key)
    except OSError as error:  # for the name of a directory
        raise ValueError("no zone has this key") from error


def _member_parts(member: Enum) -> list[str]:
    """Return the class's dotted name and the member's name; for a Flag, the names of all its bits.

    Names, since values made by `auto()` change when a member is added. Raises UnstorableError if
    they would not load as the same member.
    """
    cls = type(member)
    bits = list(member) if isinstance(member, Flag) else [member]
    parts = [f"{cls.__module__}.{cls.__qualname__}", *(str(bit.name) for bit in bits)]
    try:
        if _member(parts) is member:
            return parts
    except AttemptsError as error:
        raise UnstorableError(cls.__name__, str(error)) from error
    raise UnstorableError(cls.__name__, "it is no member that its class has by name.")


def _member(parts: list[str]) -> Enum:
    """Return the member. Raises InvalidTarget, UnknownTarget if it is missing or not allowed."""
    class_name, *names = parts
    cls = import_class(class_name)
    if not issubclass(cls, Enum):
        raise InvalidArguments(f"{class_name!r} is stored as an Enum class, and is none.")
    if any(name not in cls.__members__ for name in names):
        raise UnknownTarget(f"{class_name!r} has no such member in this version of the code.")
    members = [cls[name] for name in names]
    if issubclass(cls, Flag):
        return reduce(or_, members, cls(0))
    (member,) = members
    return member


def _row_parts(instance: Model) -> list[Any]:
    """Return the model's label, primary key, database. Raises UnstorableError if it isn't saved."""
    label = instance._meta.label
    if instance.pk is None or instance._state.adding:
        raise UnstorableError(f"unsaved {label}", "save it first, only its primary key is stored.")
    return [label, instance.pk, instance._state.db]


def _row(parts: list[Any]) -> Model:
    """Return the row as it is now. Raises ObjectGone, or UnknownTarget if there is no model."""
    label, pk, database = parts
    try:
        model = apps.get_model(label)
    except LookupError:
        raise UnknownTarget(f"There is no model {label!r} in this version of the code.") from None
    if database is not None and database not in connections:
        raise UnknownTarget(
            f"{label} was stored from the database {database!r}, which DATABASES doesn't have."
        )
    return load_instance(model, pk, database)


KINDS: Final = (
    # The first that fits is taken: a member of an Enum may be a string or a number too.
    Kind(Handed, "handed", lambda handed: handed.value, _handed_by),
    Kind(Enum, "enum", _member_parts, _member),
    Kind(Promise, None, str),
    Kind(LazyObject, None, _unwrapped),
    # Subclasses of plain types are stored as what they are based on.
    Kind(str, None, str.__str__),
    Kind(int, None, int.__int__),
    Kind(float, None, float.__float__),
    Kind(list, None, list.copy),
    Kind(dict, None, dict.copy),
    # Values of the plain types themselves that JSON can't carry.
    Kind(int, "int", hex, partial(int, base=16)),
    Kind(float, "float", repr, float),
    Kind(dict, "dict", _pairs, dict),
    Kind(tuple, "tuple", list, tuple, indexed=True),
    Kind(set, "set", list, set, unordered=True),
    Kind(frozenset, "frozenset", list, frozenset, unordered=True),
    Kind(datetime, "datetime", _time_parts, _datetime),
    Kind(date, "date", date.isoformat, date.fromisoformat),
    Kind(time, "time", _time_parts, _time),
    Kind(timedelta, "timedelta", _timedelta_parts, lambda parts: timedelta(*parts)),
    Kind(Decimal, "decimal", str, Decimal),
    Kind(UUID, "uuid", str, UUID),
    Kind(bytes, "bytes", _base64, partial(base64.b64decode, validate=True)),
    Kind(Path, "path", PurePath.as_posix, Path),
    Kind(PurePosixPath, "posixpath", PurePath.as_posix, PurePosixPath),
    Kind(PureWindowsPath, "windowspath", PurePath.as_posix, PureWindowsPath),
    Kind(Model, "row", _row_parts, _row),
)

_BY_TYPE: Final = {kind.type: kind for kind in KINDS if kind.tag is not None}
"""The kind of values of exactly one type, by that type."""

_registered: Final = registry.by_type.get

_LOADS: Final = {kind.tag: kind.load for kind in KINDS if kind.tag and kind.load}
"""The functions that make a value of its parts, by tag."""
