"""Registered types: how values of a project's own types are stored, and read again by name.

A value is stored under the registered name of its type and a version; reading it looks the name up
here and imports nothing, so that what is stored can't choose what runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from django.db import Error

from ..exceptions import AttemptsError, InvalidArguments, InvalidOption, UnknownType
from .limits import UnstorableError

SEPARATOR: Final = "@"
"""What stands between the name of a type and its version in the tag of a value."""

MAX_NAME_LENGTH: Final = 255

_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}")
MAX_VERSION: Final = 999_999_999

_PASSED_ON: Final = (AttemptsError, Error)
"""What `store`, `load` and `upgrade` may raise as it is: a lost session is told by its error."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StoredType:
    """A type whose values are stored as what `store` returns, and made again by `load`.

    `upgrades`: by version, the function that makes the data of the next version.
    """

    type: type
    name: str
    version: int
    store: Callable[[Any], Any]
    load: Callable[[Any], Any]
    upgrades: Mapping[int, Callable[[Any], Any]]
    aliases: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The tag of its values."""
        return f"{self.name}{SEPARATOR}{self.version}"

    def data_of(self, value: Any) -> Any:
        """Return what is to be stored of `value`. Raises UnstorableError if `store` raises."""
        try:
            return self.store(value)
        except _PASSED_ON:
            raise
        except Exception as error:  # noqa: BLE001 - a project's own function may raise anything
            why = _told(error)
        # Not in the handler: the project's error may quote the value.
        raise UnstorableError(self.type.__name__, f"storing it raised {why}.")

    def value_of(self, data: Any, version: int) -> Any:
        """Return the value that was stored as `data` by this version. Raises UnknownType."""
        if version > self.version:
            raise UnknownType(
                f"A stored {self.name} has version {version}, and this code knows version "
                f"{self.version}: a newer release has written it."
            )
        steps = range(version, self.version)
        if steps and version not in self.upgrades:
            raise UnknownType(
                f"A stored {self.name} has version {version}, and this code has version "
                f"{self.version} without an upgrade from {version}: add it to upgrade=."
            )
        try:
            for step in steps:
                data = self.upgrades[step](data)
            value = self.load(data)
        except _PASSED_ON:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            why = f"reading it raised {_told(error)}"
        else:
            if isinstance(value, self.type):
                return value
            why = f"its load returned a {type(value).__name__}"
        raise UnknownType(f"A stored {self.name} of version {version} can't be read: {why}.")


def _told(error: Exception) -> str:
    """Return the error's class and where it was raised, without its text."""
    place, traceback = "", error.__traceback__
    while traceback is not None and (traceback := traceback.tb_next) is not None:
        file_name = PurePath(traceback.tb_frame.f_code.co_filename).name
        place = f" in {file_name}, line {traceback.tb_lineno}"
    return f"{type(error).__name__}{place}"


class Registry:
    """The types that are registered in this process, by type, and by name and alias."""

    def __init__(self) -> None:
        self.by_type: dict[type, StoredType] = {}
        self.by_name: dict[str, StoredType] = {}

    def add(self, new: StoredType) -> None:
        """Register a type, or the same one again as a module that is reloaded does.

        Raises InvalidOption if another type has one of its names, or it has another name.
        """
        for name in (new.name, *new.aliases):
            holder = self.by_name.get(name)
            if holder is not None and own_name(holder.type) != own_name(new.type):
                raise InvalidOption(
                    f"storable: the name {name!r} of {own_name(new.type)} is "
                    f"{own_name(holder.type)}'s already; give another by name=."
                )
        known = self.by_type.get(new.type)
        if known is not None and known.name != new.name:
            raise InvalidOption(
                f"storable: {own_name(new.type)} is registered as {known.name!r} already; register "
                f"it once, with former names as aliases=."
            )
        self.by_type[new.type] = new
        self.by_name.update(dict.fromkeys((new.name, *new.aliases), new))

    def load(self, tag: str, data: Any) -> Any:
        """Return the value that was stored under `tag`.

        Raises UnknownType for what this code doesn't have, InvalidArguments for no such tag.
        """
        name, _, version = tag.rpartition(SEPARATOR)
        if not is_type_name(name) or not _VERSION.fullmatch(version):
            raise InvalidArguments("A stored value is corrupt: its tag names no type and version.")
        found = self.by_name.get(name)
        if found is None:
            raise UnknownType(
                f"No type is registered as {name!r} in this process: this version of the code "
                "lacks it, or nothing here has imported the module that registers it."
            )
        return found.value_of(data, int(version))


def own_name(cls: type) -> str:
    """Return the dotted name that a class was defined by."""
    return f"{cls.__module__}.{cls.__qualname__}"


def is_type_name(name: str) -> bool:
    """Return True for a name such as "shop.Money" of at most 255 characters."""
    return len(name) <= MAX_NAME_LENGTH and all(part.isidentifier() for part in name.split("."))


registry: Final = Registry()
