"""The way from arguments and results to bytes, and back."""

from __future__ import annotations

from typing import Any, Final

from async_attempts.conf import settings
from async_attempts.exceptions import AttemptsError, InvalidArguments, UnknownFormat
from async_attempts.plaintext import Plaintext, hide_values

from .arguments import Arguments
from .limits import require_shallow, too_large
from .places import UnstorableError, by_index, by_key
from .plain import TAG, from_plain, is_flat, to_plain
from .text import decoder, encode

BINDING_BYTES: Final = 128
"""More than `bind` adds."""

_MARK: Final = encode(TAG)
_parse_plain: Final = decoder()
_parse_tagged: Final = decoder(from_plain)


def dump_arguments(arguments: Arguments) -> Plaintext:
    """The bytes of `arguments`; a set's are the same whatever order it is walked in.

    Raises UnsupportedType, naming the place, for what can't be stored; InvalidArguments for what
    is too deep, or larger than the setting `MAX_ARGS_BYTES`, naming the largest part.
    """
    try:
        return Plaintext(_dumped(arguments))
    except BaseException as error:
        hide_values(error)
        raise


def _dumped(arguments: Arguments) -> bytes:
    args, kwargs = list(arguments.args), arguments.kwargs
    data = b""
    if (not args or is_flat(args)) and is_flat(kwargs.values()) and TAG not in kwargs:
        try:  # noqa: SIM105 - suppress() costs half as much as encoding
            data = encode([args, kwargs])
        except UnicodeEncodeError:
            pass  # It holds the text, so it is no context of what walking raises.
    if not data:
        data = _walked(args, kwargs)
    if len(data) > settings().MAX_ARGS_BYTES:
        raise too_large(
            len(data),
            "The arguments",
            f"{_largest_part(arguments)}. Pass what it can be found by instead, or raise the "
            f"setting.",
        )
    return data


def bind(data: bytes, prerequisites: str) -> Plaintext:
    """The bytes of arguments, `data`, together with a digest of the attempt's prerequisites."""
    return Plaintext(data[:-1] + b"," + encode(prerequisites) + b"]")


def is_bound(data: bytes) -> bool:
    """True if `bind` has made the bytes of arguments in `data`; False for what can't be read."""
    try:
        require_shallow(data)
        found = _parse_plain(data)
    except (InvalidArguments, ValueError):
        return False
    return type(found) is list and len(found) > 2


def load_arguments(data: bytes) -> Arguments:
    """The arguments in `data`.

    Raises InvalidArguments for bytes that are too large, too deep or corrupt; UnknownFormat for
    those of a newer release; ObjectGone for a model instance whose row is gone; InvalidTarget,
    UnknownTarget for an Enum class or a model that this code doesn't have.
    """
    return load_bound(data)[0]


def load_bound(data: bytes) -> tuple[Arguments, str]:
    """The arguments in `data`, and what `bind` has added, else "". Raises as `load_arguments`."""
    if len(data) - BINDING_BYTES > settings().MAX_ARGS_BYTES:
        raise too_large(len(data), "The stored arguments", "raise the setting to perform it.")
    try:
        return _arguments_of(_load(data))
    except BaseException as error:
        del data
        hide_values(error)
        raise


def _arguments_of(found: Any) -> tuple[Arguments, str]:
    if type(found) is list and len(found) >= 2:
        args, kwargs = found if len(found) == 2 else found[:2]
        if type(args) is list and type(kwargs) is dict:
            bound_to = _bound_to(found) if len(found) > 2 else ""
            try:
                return Arguments(*args, **kwargs), bound_to
            except TypeError:  # a keyword that is no string
                pass
    raise InvalidArguments("What is stored is a value, but no arguments.")


def _bound_to(found: list[Any]) -> str:
    if len(found) > 3 or type(found[2]) is not str:
        raise UnknownFormat(
            "The stored arguments have parts that this release doesn't know; a newer one may have "
            "written them.",
            "unknown parts",
        )
    return found[2]


def dump_value(value: Any, name: str = "result") -> Plaintext:
    """The bytes of one value, called `name` in errors; of any size. Raises InvalidArguments."""
    try:
        return Plaintext(encode(_plain({name: value})[name]))
    except BaseException as error:
        del value
        hide_values(error)
        raise


def load_value(data: bytes) -> Any:
    """The value in `data`. Raises as `load_arguments` does, though it may be of any size."""
    try:
        return _load(data)
    except BaseException as error:
        del data
        hide_values(error)
        raise


def _walked(args: list[Any], kwargs: dict[str, Any]) -> bytes:
    return encode(list(_plain({"args": args, "kwargs": kwargs}).values()))


def _largest_part(arguments: Arguments) -> str:
    args = [(by_index(at), value) for at, value in enumerate(arguments.args)]
    kwargs = [(by_key(name), value) for name, value in arguments.kwargs.items()]
    places = [f"args{part}" for part, _ in args] + [f"kwargs{part}" for part, _ in kwargs]
    sizes = [len(dump_value(value)) for _, value in args + kwargs]
    size, place = max(zip(sizes, places, strict=True), default=(0, "none"))
    return f"the largest part is {place} with {size:,}"


def _plain(named: dict[str, Any]) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = to_plain(named)
    except UnstorableError as error:
        told, cause = error.as_error(), error.__cause__
    else:
        return plain
    # Not in the handler: what says where it can't be stored is no part of what is raised.
    raise told from cause


def _load(data: bytes) -> Any:
    require_shallow(data)
    # Not `in`, which tries to take the text for a number first: three times as slow.
    parse = _parse_plain if data.find(_MARK) < 0 else _parse_tagged
    try:
        return parse(data)
    except AttemptsError:
        raise
    except ValueError:
        pass  # It holds the text, so it is no context of what is raised.
    raise InvalidArguments("What is stored is corrupt: it is no JSON in UTF-8.")
