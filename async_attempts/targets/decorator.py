"""`@attemptable`: the author's leave to call a function by its name."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction

from async_attempts.exceptions import InvalidOption, InvalidTarget

from .importable import require_public
from .policy import Policy, seconds_of
from .registry import own_name, register, underlying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from async_attempts.backoff import Backoff

Function = TypeVar("Function", bound="Callable[..., Any] | classmethod[Any, ..., Any]")


@overload
def attemptable(function: Function, /) -> Function: ...


@overload
def attemptable(
    *,
    queue: str | None = None,
    priority: int | str | None = None,
    delay: float | timedelta | None = None,
    expires_after: float | timedelta | None = None,
    max_attempts: int | None = None,
    backoff: Backoff | None = None,
    timeout: float | timedelta | None = None,
    atomic: bool = False,
    keep_result: bool | None = None,
    debounce: float | timedelta | None = None,
    throttle: float | timedelta | None = None,
    max_wait: float | timedelta | None = None,
    adaptive: bool = False,
    limit_key: str | Callable[..., Any] | None = None,
    concurrency: int | None = None,
    aliases: Iterable[str] = (),
) -> Callable[[Function], Function]: ...


def attemptable(
    function: Any = None,
    /,
    *,
    queue: str | None = None,
    priority: int | str | None = None,
    delay: float | timedelta | None = None,
    expires_after: float | timedelta | None = None,
    max_attempts: int | None = None,
    backoff: Backoff | None = None,
    timeout: float | timedelta | None = None,
    atomic: bool = False,
    keep_result: bool | None = None,
    debounce: float | timedelta | None = None,
    throttle: float | timedelta | None = None,
    max_wait: float | timedelta | None = None,
    adaptive: bool = False,
    limit_key: str | Callable[..., Any] | None = None,
    concurrency: int | None = None,
    aliases: Iterable[str] = (),
) -> Any:
    """Let attempts call this function by its dotted name, and say how. Returns what it was given.

    For functions of a module and for methods, above or below `@staticmethod` and `@classmethod`.

    `delay`, `expires_after`: seconds or a timedelta from the enqueueing. `timeout`: seconds or a
    timedelta for one execution. `atomic`: perform and record it in one database transaction.
    `debounce`, `throttle`, `max_wait`: seconds or a timedelta, `adaptive`: see `Pacing`.
    `limit_key`, `concurrency`: of one key, text or a function that makes it of the arguments, at
    most so many run at once, 1 by default; without a key, of this function.
    `aliases`: full dotted names that the function had before it was moved or renamed.

    Raises InvalidTarget for what no name leads to, InvalidOption for an option that is wrong.
    """
    policy = Policy(
        queue=queue,
        priority=priority,
        delay=seconds_of(delay),
        expires_after=seconds_of(expires_after),
        max_attempts=max_attempts,
        backoff=backoff,
        timeout=seconds_of(timeout),
        atomic=atomic,
        keep_result=keep_result,
        debounce=seconds_of(debounce),
        throttle=seconds_of(throttle),
        max_wait=seconds_of(max_wait),
        adaptive=adaptive,
        limit_key=limit_key,
        concurrency=concurrency,
        aliases=_former_names(aliases),
    )

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


def _former_names(aliases: Iterable[str]) -> tuple[str, ...]:
    names = (aliases,) if isinstance(aliases, str) else tuple(aliases)
    for name in names:
        if "." not in name:
            raise InvalidOption(f"aliases: {name!r} must be a full dotted name.")
        require_public(name)
    return names
