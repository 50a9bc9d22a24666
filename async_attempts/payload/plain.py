"""Convert values to plain JSON data by the table of kinds, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from math import isfinite
from typing import Any, Final

from django.core.exceptions import ValidationError

from async_attempts.exceptions import AttemptsError, InvalidArguments, UnknownFormat

from .kinds import BY_TYPE, KINDS, LOADS, Kind
from .limits import MAX_DEPTH
from .places import TooDeepError, UnstorableError, by_index, by_key
from .text import encode

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


def _str(value: str, _depth: int) -> str:
    if value.isascii():
        return value
    with suppress(UnicodeEncodeError):
        value.encode()
        return value
    raise UnstorableError("str", "it holds a lone surrogate, which is no text.")


def _int(value: int, depth: int) -> Any:
    return value if value.bit_length() <= MAX_INT_BITS else _tagged(BY_TYPE[int], value, depth)


def _float(value: float, depth: int) -> Any:
    return value if isfinite(value) else _tagged(BY_TYPE[float], value, depth)


def _itself(value: Any, _depth: int) -> Any:
    return value


def _list(items: Iterable[Any], depth: int) -> list[Any]:
    if depth >= MAX_DEPTH:
        raise TooDeepError
    plain = []
    for index, item in enumerate(items):
        try:
            plain.append(_native(type(item), _other)(item, depth + 1))
        except UnstorableError as error:
            error.path.append(by_index(index))
            raise
    return plain


def _dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    if depth >= MAX_DEPTH:
        raise TooDeepError
    plain = {}
    for key, item in value.items():
        if type(key) is not str or key == TAG:
            return _tagged(BY_TYPE[dict], value, depth)
        try:
            plain[_str(key, depth)] = _native(type(item), _other)(item, depth + 1)
        except UnstorableError as error:
            error.path.append(by_key(key))
            raise
    return plain


def _other(value: Any, depth: int) -> Any:
    kind = BY_TYPE.get(type(value)) or _kind_of(value)
    if kind.tag is None:
        return to_plain(kind.dump(value), depth)
    return _tagged(kind, value, depth)


def _kind_of(value: Any) -> Kind:
    for kind in KINDS:
        if issubclass(type(value), kind.type):  # isinstance would believe a proxy
            return kind
    raise UnstorableError(type(value).__name__)


def _tagged(kind: Kind, value: Any, depth: int) -> dict[str, Any]:
    if depth >= MAX_DEPTH:
        raise TooDeepError
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


_NATIVE: Final[dict[type, Callable[[Any, int], Any]]] = {
    str: _str,
    int: _int,
    float: _float,
    bool: _itself,
    type(None): _itself,
    list: _list,
    dict: _dict,
}
_native: Final = _NATIVE.get


def to_plain(value: Any, depth: int = 0) -> Any:
    """Return `value` as plain data, within `depth` open brackets. Raises UnstorableError."""
    return _native(type(value), _other)(value, depth)


def is_flat(values: Iterable[Any]) -> bool:
    """True if JSON carries each of `values` as it is, except text that can't be encoded."""
    for value in values:
        kind = type(value)
        if kind is int:
            if not -_LARGEST_FLAT <= value <= _LARGEST_FLAT:
                return False
        elif kind not in _FLAT:
            return False
    return True


def from_plain(found: dict[str, Any]) -> Any:
    """Return the value of a tagged object whose parts are loaded; any other object as it is.

    Raises InvalidArguments, UnknownFormat, or what looking up a class or a row raises.
    """
    if TAG not in found:
        return found
    tag = found[TAG]
    if found.keys() != {TAG, PARTS} or not isinstance(tag, str):
        raise InvalidArguments("A stored tagged value is corrupt: it has other parts.")
    if tag not in LOADS:
        raise UnknownFormat(
            "The stored value holds a tag that this release doesn't know; a newer one may have "
            "written it.",
            "an unknown tag",
        )
    try:
        return LOADS[tag](found[PARTS])
    except AttemptsError:
        raise
    except _CORRUPT as error:
        name = type(error).__name__  # Its text may quote the value.
    raise InvalidArguments(f"A stored {tag} can't be read ({name}).")
