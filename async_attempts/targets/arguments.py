"""Whether arguments fit the target's signature."""

from __future__ import annotations

import sys
from functools import lru_cache
from inspect import Signature, signature
from types import MethodType
from typing import TYPE_CHECKING, Any

from async_attempts.exceptions import InvalidArguments

from .methods import method_of
from .naming import TargetName
from .registry import own_name, underlying
from .resolving import Resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def check_arguments(
    target: TargetName | Resolved | Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    """Raises InvalidArguments, with Python's words and never the values, if the call can't begin.

    A function without a known signature, as some of C's, takes anything.
    """
    if isinstance(target, TargetName):
        method = method_of(target.target, target.method_name)
        function, takes_owner = underlying(method.found), method.takes_owner
    else:
        bound = target.function if isinstance(target, Resolved) else target
        function, takes_owner = underlying(bound), isinstance(bound, MethodType)
    known = _signature(function, takes_owner)
    if known is None:
        return
    try:
        known.bind(*args, **kwargs)
    except TypeError as error:
        name = own_name(function) or type(function).__name__
        raise InvalidArguments(f"{name}: {error}.") from None


@lru_cache(maxsize=4096)
def _signature(function: Callable[..., Any], takes_owner: bool) -> Signature | None:
    """Kept by the plain function: a bound one would keep its instance alive."""
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
