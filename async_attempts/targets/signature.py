"""Signatures of targets, to check the arguments of a call before it is enqueued."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from inspect import Parameter, Signature
from types import MethodType
from typing import Any, Final

from ..exceptions import InvalidArguments
from .names import own_name

BY_POSITION: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
BY_NAME: Final = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class CallSignature:
    """The arguments that a plain function takes, without its class or instance.

    A function without a known signature, as some of C's, takes anything.
    """

    def __init__(self, function: Callable[..., Any], *, takes_owner: bool) -> None:
        self._function = function
        self._takes_owner = takes_owner
        self._keywords: dict[int, tuple[frozenset[str], frozenset[str]] | None] = {}

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise InvalidArguments, in Python's words and without the values, if they don't fit."""
        number = len(args)
        try:
            keywords = self._keywords[number]
        except KeyError:
            keywords = self._keywords[number] = self._keywords_beside(number)
        if keywords is not None:
            required, allowed = keywords
            if required <= kwargs.keys() <= allowed:
                return
        if self._signature is None:
            return
        try:
            self._signature.bind(*args, **kwargs)
        except TypeError as error:
            problem = str(error)
        else:
            return
        # Not in the handler, and without the arguments: an error report would show them.
        del args, kwargs
        name = own_name(self._function) or type(self._function).__name__
        raise InvalidArguments(f"{name}: {problem}.", f"{name}: its arguments don't fit.")

    @property
    def takes_positional(self) -> bool:
        """True if a first argument can be given by position."""
        if self._signature is None:
            return True
        kinds = {parameter.kind for parameter in self._signature.parameters.values()}
        return not kinds.isdisjoint((*BY_POSITION, Parameter.VAR_POSITIONAL))

    @property
    def takes_arguments(self) -> bool:
        """True if it is known to have a parameter."""
        return bool(self._signature and self._signature.parameters)

    def has_keyword(self, name: str) -> bool:
        """Return True if a parameter of this very name can be given by keyword."""
        parameter = self._signature.parameters.get(name) if self._signature else None
        return parameter is not None and parameter.kind in BY_NAME

    def _keywords_beside(self, number: int) -> tuple[frozenset[str], frozenset[str]] | None:
        """Return the keywords required and allowed beside `number` positional arguments.

        None leaves it to `Signature.bind`, which knows it all but is slower.
        """
        if self._signature is None:
            return None
        parameters = self._signature.parameters.values()
        positional = [p for p in parameters if p.kind in BY_POSITION]
        rest = positional[number:] + [p for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
        required = {p.name for p in rest if p.default is Parameter.empty}
        allowed = {p.name for p in rest if p.kind in BY_NAME}
        if number > len(positional) or not required <= allowed:
            return None
        return frozenset(required), frozenset(allowed)

    @cached_property
    def _signature(self) -> Signature | None:
        function = self._function
        if self._takes_owner:
            function = MethodType(function, object())
        try:
            if sys.version_info >= (3, 14):
                from annotationlib import Format

                # The annotations' own names may be there for type checkers only.
                return inspect.signature(function, annotation_format=Format.STRING)
            return inspect.signature(function)
        except ValueError:
            return None
