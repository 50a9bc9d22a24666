"""The arguments of a call, and what stands in them for results that come later."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from ..exceptions import InvalidArguments


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
        """Return them from a mapping (keyword), a list or tuple (positional), None or `Arguments`.

        Raises InvalidArguments for anything else, and for a key that isn't a string.
        """
        if method_args is None:
            return cls()
        if isinstance(method_args, Arguments):
            return method_args
        if isinstance(method_args, list | tuple):
            return cls(*method_args)
        problem = (
            "must be a mapping (keyword arguments), a list or tuple (positional arguments) or "
            f"Arguments, not {type(method_args).__name__}."
        )
        if isinstance(method_args, Mapping):
            strange = [type(name).__name__ for name in method_args if not isinstance(name, str)]
            if not strange:
                return cls(**method_args)
            problem = (
                "the keys of a mapping are the names of keyword arguments, so they must be str, "
                f"not {strange[0]}."
            )
        del method_args  # An error report would show it.
        raise InvalidArguments(f"method_args: {problem}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Arguments):
            return NotImplemented
        return self.args == other.args and self.kwargs == other.kwargs

    __hash__ = None  # type: ignore[assignment]  # lists can't be hashed; typeshed wants a method

    def __repr__(self) -> str:
        positional = [f"{len(self.args)} positional"] if self.args else []
        return f"Arguments({', '.join(positional + [f'{name}=…' for name in self.kwargs])})"


class Handed(Enum):
    """A placeholder for what an attempt is handed as its first positional argument."""

    RESULT = "result"
    RESULTS = "results"
    ERROR = "error"
    ENDINGS = "endings"
