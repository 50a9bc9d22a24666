"""`@attemptable`: the author's leave to call a function by its name."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from asgiref.sync import iscoroutinefunction

from async_attempts.exceptions import InvalidOption, InvalidTarget

from .policy import TargetOptions, policy_with
from .registry import own_name, register, underlying

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., Any] | classmethod[Any, ..., Any]")


@overload
def attemptable(function: Function, /) -> Function: ...


@overload
def attemptable(**options: Unpack[TargetOptions]) -> Callable[[Function], Function]: ...


def attemptable(function: Any = None, /, **options: Unpack[TargetOptions]) -> Any:
    """Let attempts call this function by its dotted name, and say how. Returns what it was given.

    For functions of a module and for methods, above or below `@staticmethod` and `@classmethod`.
    The options are those of `TargetOptions`.

    Raises InvalidTarget for what no name leads to, InvalidOption for an option that is wrong.
    """
    policy = policy_with(options)

    def decorate(function: Any) -> Any:
        plain = underlying(function)
        name = _require_name(plain)
        if policy.atomic and iscoroutinefunction(plain):
            raise InvalidOption(
                f"atomic: {name} is a coroutine function, and no transaction can span its awaits; "
                f"make it a plain function or leave atomic out."
            )
        register(plain, name, policy)
        return function

    return decorate if function is None else decorate(function)


def _require_name(function: object) -> str:
    """The function's dotted name. Raises InvalidTarget if none leads back to it."""
    kind = type(function).__name__
    if not callable(function):
        raise InvalidTarget(f"@attemptable is for functions; a {kind} is not callable.")
    name = own_name(function)
    if isinstance(function, type):
        raise InvalidTarget(f"@attemptable is for functions; decorate the methods of {name}.")
    if name is None or "<lambda>" in name:
        raise InvalidTarget(
            f"@attemptable: {name or f'a {kind}'} has no name that leads to it, as lambdas and "
            f"partials have none; define it with def."
        )
    if "<locals>" in name:
        raise InvalidTarget(
            f"@attemptable: {name} is defined inside a function, where no name leads to it; move "
            f"it to its module, or use functools.wraps if a decorator made it."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidTarget(f"@attemptable: {name} is a generator; calling it runs none of it.")
    return name
