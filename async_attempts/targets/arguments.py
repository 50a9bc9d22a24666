"""Whether arguments fit the target's signature."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from inspect import Parameter, Signature, signature
from types import MethodType
from typing import Any, Final

from async_attempts.exceptions import InvalidArguments

from .methods import Method, method_of
from .naming import TargetName
from .registry import own_name, underlying
from .resolving import Resolved

BY_POSITION: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
BY_NAME: Final = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Shapes:
    """The calls that a function takes: how many positional arguments, and which keywords."""

    __slots__ = ("_by_number", "function", "known")

    def __init__(self, function: Callable[..., Any], takes_owner: bool) -> None:
        self.function = function
        self.known = _signature(function, takes_owner)
        self._by_number: dict[int, tuple[frozenset[str], frozenset[str]] | None] = {}

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raises as `check_arguments` does."""
        if self.known is None:
            return
        number = len(args)
        try:
            shape = self._by_number[number]
        except KeyError:
            shape = self._by_number[number] = _shape(self.known, number)
        if shape is not None:
            required, allowed = shape
            if required <= kwargs.keys() <= allowed:
                return
        try:
            self.known.bind(*args, **kwargs)
        except TypeError as error:
            problem = str(error)
        else:
            return
        # Not in the handler, and without the arguments: an error report would show them.
        del args, kwargs
        name = own_name(self.function) or type(self.function).__name__
        raise InvalidArguments(f"{name}: {problem}.", f"{name}: its arguments don't fit.")


def _shape(known: Signature, number: int) -> tuple[frozenset[str], frozenset[str]] | None:
    """The keywords that so many positional arguments need and allow; None: let Python judge."""
    parameters = list(known.parameters.values())
    positional = [p for p in parameters if p.kind in BY_POSITION]
    rest = positional[number:] + [p for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
    required = {p.name for p in rest if p.default is Parameter.empty}
    allowed = {p.name for p in rest if p.kind in BY_NAME}
    if number > len(positional) or not required <= allowed:
        return None
    return frozenset(required), frozenset(allowed)


def check_arguments(
    target: TargetName | Resolved | Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    """Raises InvalidArguments, with Python's words and never the values, if the call can't begin.

    A function without a known signature, as some of C's, takes anything.
    """
    if isinstance(target, TargetName):
        shapes = shapes_of(method_of(target.target, target.method_name))
    else:
        bound = target.function if isinstance(target, Resolved) else target
        shapes = _shapes(underlying(bound), isinstance(bound, MethodType))
    shapes.check(args, kwargs)


def shapes_of(method: Method) -> Shapes:
    """The calls that a method takes."""
    return _shapes(underlying(method.found), method.takes_owner)


@lru_cache(maxsize=4096)
def _shapes(function: Callable[..., Any], takes_owner: bool) -> Shapes:
    """Kept by the plain function: a bound one would keep its instance alive."""
    return Shapes(function, takes_owner)


def _signature(function: Callable[..., Any], takes_owner: bool) -> Signature | None:
    if takes_owner:
        function = MethodType(function, object())
    try:
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            # The annotations' own names may be there for type checkers only.
            return signature(function, annotation_format=Format.STRING)
        return signature(function)
    except ValueError:
        return None
