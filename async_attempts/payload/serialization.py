"""Serialization of arguments and results: from values to bytes and back, within the limits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..conf import settings
from ..exceptions import AttemptsError, InvalidArguments, UnknownFormat
from ..plaintext import Plaintext, hides_values
from .arguments import Arguments
from .codec import TAG, from_plain, is_flat, to_plain
from .json import decoder, encode
from .limits import UnstorableError, by_index, by_key, require_shallow, too_large

BINDING_BYTES: Final = 128
"""More bytes than `bind` adds."""

_MARK: Final = encode(TAG)
_parse_plain: Final = decoder()
_parse_tagged: Final = decoder(from_plain)


def dump_arguments(arguments: Arguments) -> Plaintext:
    """Return the bytes of `arguments`; a set's are the same whatever order it is walked in.

    Raises UnsupportedType, naming the path, for what can't be stored; InvalidArguments for what
    is too deep, or larger than the setting `MAX_ARGS_BYTES`, naming the largest part.
    """
    return dump_each([arguments])[0]


@hides_values
def dump_each(given: Iterable[Arguments]) -> list[Plaintext]:
    """Return the bytes of each of `given`; see `dump_arguments`."""
    return [_dumped(arguments) for arguments in given]


def _dumped(arguments: Arguments) -> Plaintext:
    args, kwargs = list(arguments.args), arguments.kwargs
    data = b""
    if (not args or is_flat(args)) and is_flat(kwargs.values()) and TAG not in kwargs:
        try:
            data = encode([args, kwargs])
        except UnicodeEncodeError:
            data = b""  # The error holds the text, so it is no context of another one.
    if not data:
        data = encode(list(_plain({"args": args, "kwargs": kwargs}).values()))
    if len(data) > settings().MAX_ARGS_BYTES:
        remedy = "Pass what it can be found by instead, or raise the setting."
        raise too_large(len(data), "The arguments", f"{_largest_part(arguments)}. {remedy}")
    return Plaintext(data)


def bind(data: bytes, prerequisites: str) -> Plaintext:
    """Return the bytes of arguments, `data`, with a digest of the attempt's prerequisites."""
    return Plaintext(data[:-1] + b"," + encode(prerequisites) + b"]")


def is_bound(data: bytes) -> bool:
    """Return True if `bind` has made the bytes in `data`; False for what can't be read."""
    try:
        require_shallow(data)
        found = _parse_plain(data)
    except (InvalidArguments, ValueError):
        return False
    return type(found) is list and len(found) > 2


def load_arguments(data: bytes) -> Arguments:
    """Return the arguments in `data`.

    Raises InvalidArguments for bytes that are too large, too deep or corrupt; UnknownFormat for
    those of a newer release; ObjectGone for a model instance whose row is gone; InvalidTarget,
    UnknownTarget for an Enum class or a model that this code doesn't have.
    """
    return load_bound(data)[0]


@hides_values
def load_bound(data: bytes) -> tuple[Arguments, str]:
    """Return the arguments in `data`, and the digest from `bind` or "". Raises as above."""
    if len(data) - BINDING_BYTES > settings().MAX_ARGS_BYTES:
        raise too_large(len(data), "The stored arguments", "raise the setting to perform it.")
    return _arguments_of(_load(data))


@hides_values
def dump_value(value: Any) -> Plaintext:
    """Return the bytes of a result of any size. Raises InvalidArguments."""
    return Plaintext(encode(_plain({"result": value})["result"]))


@hides_values
def load_value(data: bytes) -> Any:
    """Return the value in `data`, of any size. Raises as `load_arguments` does."""
    return _load(data)


def _largest_part(arguments: Arguments) -> str:
    parts = [(f"args{by_index(i)}", value) for i, value in enumerate(arguments.args)]
    parts += [(f"kwargs{by_key(name)}", value) for name, value in arguments.kwargs.items()]
    sizes = [(len(dump_value(value)), path) for path, value in parts]
    size, path = max(sizes, default=(0, "none"))
    return f"the largest part is {path} with {size:,}"


def _plain(named: dict[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = to_plain(named)
    except UnstorableError as error:
        told, cause = error.as_error(), error.__cause__
    else:
        return plain
    # Not in the handler: the inner error has no context that shows values.
    raise told from cause


def _load(data: bytes) -> Any:
    require_shallow(data)
    parse = _parse_tagged if _MARK in data else _parse_plain
    try:
        return parse(data)
    except AttemptsError:
        raise
    except ValueError:
        pass  # It holds the text, so it is no context of what is raised.
    raise InvalidArguments("What is stored is corrupt: it is no JSON in UTF-8.")


def _arguments_of(found: Any) -> tuple[Arguments, str]:
    if type(found) is list and len(found) >= 2:
        args, kwargs, *rest = found
        if type(args) is list and type(kwargs) is dict:
            bound_to = _bound_to(rest) if rest else ""
            try:
                return Arguments(*args, **kwargs), bound_to
            except TypeError:
                pass  # a keyword that is no string
    raise InvalidArguments("What is stored is a value, but no arguments.")


def _bound_to(rest: list[Any]) -> str:
    if len(rest) > 1 or type(rest[0]) is not str:
        raise UnknownFormat(
            "The stored arguments have parts that this release doesn't know; a newer one may have "
            "written them.",
            "unknown parts",
        )
    return rest[0]
