"""`storable`: let arguments and results hold values of a project's own types."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from inspect import Signature, iscoroutinefunction, signature
from typing import Any, Final, TypeVar, overload

from ..exceptions import InvalidOption, UnknownType
from .codec import is_native
from .registry import (
    MAX_NAME_LENGTH,
    MAX_VERSION,
    StoredType,
    is_type_name,
    own_name,
    registry,
)

T = TypeVar("T")

REMEDY: Final = "raise version=, and say by upgrade= what older data become."


@overload
def storable(
    cls: type[T],
    /,
    *,
    store: Callable[[T], Any] | None = None,
    load: Callable[[Any], T] | None = None,
    name: str | None = None,
    version: int = 1,
    upgrade: Mapping[int, Callable[[Any], Any]] | None = None,
    aliases: str | Iterable[str] = (),
) -> type[T]: ...


@overload
def storable(
    *,
    store: Callable[[Any], Any] | None = None,
    load: Callable[[Any], Any] | None = None,
    name: str | None = None,
    version: int = 1,
    upgrade: Mapping[int, Callable[[Any], Any]] | None = None,
    aliases: str | Iterable[str] = (),
) -> Callable[[type[T]], type[T]]: ...


def storable(
    cls: Any = None,
    /,
    *,
    store: Callable[[Any], Any] | None = None,
    load: Callable[[Any], Any] | None = None,
    name: str | None = None,
    version: int = 1,
    upgrade: Mapping[int, Callable[[Any], Any]] | None = None,
    aliases: str | Iterable[str] = (),
) -> Any:
    """Let arguments and results hold values of this class; returns it. Also a decorator.

    `store`: returns what is stored of a value: JSON's types, and all that arguments may hold.
    `load`: makes the value of that. A dataclass needs neither: its fields are stored.
    `name`: the name that is stored, by default the class's dotted name. `aliases`: names that it
    had before. `version`: of what is stored; `upgrade`: by version, a function that makes the data
    of the next version.

    Values of exactly this class are stored so, and not of its subclasses. Raises InvalidOption.
    """

    def register(cls: Any) -> Any:
        _require_own_type(cls)
        storing, loading = (store, load) if (store, load) != (None, None) else _by_fields(cls)
        stored_type = StoredType(
            type=cls,
            name=_name_for(cls, name),
            version=_checked_version(cls, version),
            store=_checked_function(cls, "store", storing),
            load=_checked_function(cls, "load", loading),
            upgrades=_checked_upgrades(cls, version, {} if upgrade is None else upgrade),
            aliases=_checked_names(cls, aliases),
        )
        registry.add(stored_type)
        return cls

    return register if cls is None else register(cls)


def _refused(cls: type, problem: str) -> InvalidOption:
    return InvalidOption(f"storable: {own_name(cls)}: {problem}")


def _require_own_type(cls: Any) -> None:
    if not isinstance(cls, type):
        raise InvalidOption(f"storable: takes a class, not a {type(cls).__name__}.")
    if is_native(cls):
        raise _refused(cls, "its values are stored as they are, without being registered.")


def _checked_function(
    cls: type, option: str, function: Callable[[Any], Any] | None
) -> Callable[[Any], Any]:
    if function is None:
        raise _refused(cls, f"{option} is missing: store and load go together.")
    if not callable(function):
        raise _refused(cls, f"{option} must be a function, not a {type(function).__name__}.")
    if iscoroutinefunction(function):
        raise _refused(cls, f"{option} is a coroutine function; make it a plain one.")
    return function


def _name_for(cls: type, name: str | None) -> str:
    if name is not None:
        return _checked_names(cls, (name,), "name")[0]
    name = own_name(cls)
    if cls.__module__ == "__main__" or not is_type_name(name):
        raise _refused(
            cls,
            "no name leads to it in another process: define it at the top of its module, or give "
            "name=.",
        )
    return name


def _checked_names(
    cls: type, names: str | Iterable[Any], option: str = "aliases"
) -> tuple[str, ...]:
    checked = (names,) if isinstance(names, str) else tuple(names)
    for name in checked:
        if not isinstance(name, str) or not is_type_name(name):
            raise _refused(
                cls,
                f"{option}: {name!r} must be a name such as 'shop.Money', of at most "
                f"{MAX_NAME_LENGTH} characters.",
            )
    return checked


def _checked_version(cls: type, version: object) -> int:
    if type(version) is not int or not 1 <= version <= MAX_VERSION:
        raise _refused(cls, f"version: {version!r} must be a whole number from 1 on.")
    return version


def _checked_upgrades(
    cls: type, version: int, upgrades: Mapping[int, Callable[[Any], Any]]
) -> Mapping[int, Callable[[Any], Any]]:
    """Return a copy, which leads to `version` step by step from the oldest that it has."""
    if not isinstance(upgrades, Mapping):
        raise _refused(cls, "upgrade: must be a dict of functions by version: {1: from_1_to_2}.")
    if upgrades and version == 1:
        raise _refused(cls, "upgrade: is for older versions, and the version is 1: raise version=.")
    oldest = version - len(upgrades)
    if set(upgrades) != set(range(oldest, version)) or oldest < 1:
        raise _refused(
            cls,
            f"upgrade: must have each version from the oldest that is still stored up to "
            f"{version - 1}, the last before version={version}, and has {list(upgrades)}.",
        )
    return {
        step: _checked_function(cls, f"upgrade[{step}]", function)
        for step, function in upgrades.items()
    }


def _by_fields(cls: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return `store` and `load` of a dataclass: a dict of the fields that its constructor takes.

    As for `dataclasses.replace`, fields with `init=False` are the class's own to fill in.
    """
    if issubclass(cls, Enum):
        raise _refused(cls, "an Enum is stored by its members' names, without being registered.")
    # A class that only inherits from a dataclass may have more than its fields.
    if not is_dataclass(cls) or "__dataclass_fields__" not in vars(cls):
        raise _refused(
            cls, "is no dataclass: put @dataclass below @storable, or give store= and load=."
        )
    taken = [field for field in fields(cls) if field.init]
    names = [field.name for field in taken]
    try:
        _signature(cls).bind(**dict.fromkeys(names))
    except TypeError as error:
        problem = f"its constructor can't be called with its fields by name ({error})"
        raise _refused(cls, f"{problem}: give store= and load=.") from None

    def store(value: Any) -> dict[str, Any]:
        return {name: getattr(value, name) for name in names}

    known, required = frozenset(names), [field.name for field in taken if _is_required(field)]

    def load(data: dict[str, Any]) -> Any:
        if not data.keys() <= known:
            raise UnknownType(
                f"A stored {own_name(cls)} has a field that this code's doesn't have: {REMEDY}"
            )
        for name in required:
            if name not in data:
                raise UnknownType(
                    f"A stored {own_name(cls)} lacks the field {name!r}: give it a default, or "
                    f"{REMEDY}"
                )
        return cls(**data)

    return store, load


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _signature(cls: type) -> Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        # The annotations' own names may be there for type checkers only.
        return signature(cls, annotation_format=Format.STRING)
    return signature(cls)
