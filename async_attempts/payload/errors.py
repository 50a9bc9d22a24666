"""Errors for values that can't be stored: the path to the part, and never a value."""

from __future__ import annotations

from typing import Final

from ..exceptions import InvalidArguments, UnsupportedType
from .limits import MAX_DEPTH

LONGEST_NAME: Final = 60


class UnstorableError(Exception):
    """A value that can't be stored; collects the `path` to it, innermost part first."""

    def __init__(self, what: str, why: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.path: list[str] = []

    def as_error(self) -> InvalidArguments:
        """Return the error for the caller."""
        in_clear = f"{self.what} can't be stored{f': {self.why}' if self.why else '.'}"
        return UnsupportedType(f"{_joined(self.path)}: {in_clear}", in_clear)


class TooDeepError(UnstorableError):
    """Nested deeper than can be stored, or without end since it contains itself."""

    def __init__(self) -> None:
        super().__init__("too deep")

    def as_error(self) -> InvalidArguments:
        """Return the error, with the beginning of a path that is as long as the nesting is deep."""
        in_clear = (
            "is nested too deep, or contains itself; what is stored may be "
            f"{MAX_DEPTH} brackets deep."
        )
        return InvalidArguments(f"{_joined(self.path[-2:])}: {in_clear}", f"it {in_clear}")


def _joined(path: list[str]) -> str:
    return "".join(reversed(path)).removeprefix(".")


def by_index(index: int) -> str:
    """Return the part of a path that leads to an item of a list or a tuple."""
    return f"[{index}]"


def by_key(key: object) -> str:
    """Return the part of a path to a value of a dict, without a key that may be data."""
    if isinstance(key, str) and key.isidentifier() and len(key) <= LONGEST_NAME:
        return f".{key}"
    return "[…]"
