"""The arguments of a call."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from async_attempts.exceptions import InvalidArguments


class Arguments:
    """Positional and keyword arguments: `Arguments(1, 2, token="x")`.

    Its repr has no values, only names: arguments are secrets.
    """

    __slots__ = ("args", "kwargs")

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.kwargs = kwargs

    @classmethod
    def of(cls, method_args: object) -> Arguments:
        """From a mapping (keyword), a list or tuple (positional), None (none) or `Arguments`.

        Raises InvalidArguments for anything else, and for a key that isn't a string.
        """
        if type(method_args) is dict:
            with suppress(TypeError):  # a key is no string
                return cls(**method_args)
        if method_args is None:
            return cls()
        if isinstance(method_args, Arguments):
            return method_args
        if isinstance(method_args, list | tuple):
            return cls(*method_args)
        kind = type(method_args).__name__
        if not isinstance(method_args, Mapping):
            del method_args  # An error report would show it.
            raise InvalidArguments(
                "method_args: must be a mapping (keyword arguments), a list or tuple (positional "
                f"arguments) or Arguments, not {kind}."
            )
        strange = [type(name).__name__ for name in method_args if not isinstance(name, str)]
        if strange:
            del method_args
            raise InvalidArguments(
                "method_args: the keys of a mapping are the names of keyword arguments, so "
                f"they must be str, not {strange[0]}."
            )
        return cls(**method_args)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Arguments):
            return NotImplemented
        return self.args == other.args and self.kwargs == other.kwargs

    __hash__ = None  # type: ignore[assignment]  # lists can't be hashed; typeshed wants a method

    def __repr__(self) -> str:
        positional = [f"{len(self.args)} positional"] if self.args else []
        return f"Arguments({', '.join(positional + [f'{name}=…' for name in self.kwargs])})"
