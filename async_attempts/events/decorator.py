"""The decorator `@on`: call this function for these events."""

from __future__ import annotations

from collections.abc import Callable
from inspect import unwrap
from typing import Any, TypeVar, Unpack

from asgiref.sync import iscoroutinefunction

from ..exceptions import InvalidOption, InvalidTarget
from ..targets import (
    EventOptions,
    TargetOptions,
    attemptable,
    is_marked,
    module_load_id,
    own_name,
    policy_with,
    underlying,
)
from .listeners import Condition, Listener, Subscription, registry

Function = TypeVar("Function", bound="Callable[..., Any] | classmethod[Any, ..., Any]")


def on(
    event: str, /, *, when: Condition | None = None, **options: Unpack[EventOptions]
) -> Callable[[Function], Function]:
    """Let each emit of `event` enqueue an attempt to call this function. Returns what it was given.

    `event`: a name, or a glob as `fnmatch.fnmatchcase` has it; `order.*` matches `order.completed`
    and `order.item.added`. `when`: called by `emit` with the event's payload, a read-only mapping;
    there is no attempt if it returns something false. The options, those of `EventOptions`, are as
    for `@attemptable`, which the function needn't have as well; they take
    precedence over its options.

    Of several `@on` on one function, the first from above that matches and whose condition holds
    gives the options. Raises InvalidOption, InvalidTarget.
    """
    _check_pattern(event)
    for name in options.keys() - EventOptions.__optional_keys__:
        is_code_only = name in TargetOptions.__optional_keys__
        remedy = "belongs on the function's @attemptable" if is_code_only else "no such option"
        raise InvalidOption(f"@on({event!r}): {name}: {remedy}.")
    _check_condition(event, when)
    try:
        subscription = Subscription(event, when, policy_with(options))
    except InvalidOption as error:
        raise InvalidOption(f"@on({event!r}): {error}") from None

    def decorate(function: Function) -> Function:
        plain = underlying(function)
        if not is_marked(plain):
            try:
                attemptable(function)
            except InvalidTarget as error:
                raise InvalidTarget(f"@on({event!r}): {error}") from None
        registry.put(_listener(plain).subscribed(plain, subscription))
        return function

    return decorate


def _check_pattern(event: Any) -> None:
    if not isinstance(event, str) or not event:
        raise InvalidOption(
            f'@on: give it the name of an event, as @on("order.completed"), not {event!r}.'
        )


def _check_condition(event: str, when: Any) -> None:
    if when is None:
        return
    if not callable(when):
        raise InvalidOption(
            f"@on({event!r}): when: must be a function of the payload, not a {type(when).__name__}."
        )
    if iscoroutinefunction(when):
        raise InvalidOption(
            f"@on({event!r}): when: emit calls it at once, so it can't be async; make it a plain "
            f"function."
        )


def _listener(function: Callable[..., Any]) -> Listener:
    """Return the listener of this name, or a new one if its module was loaded again.

    Raises InvalidTarget if a module has two functions of one name, which leads to the second.
    """
    name = str(own_name(function))
    reading = module_load_id(function)
    known = registry.listeners.get(name)
    if known is None:
        return Listener(name, function, reading)
    if unwrap(function) is unwrap(known.function):
        return known
    if reading is not None and reading is known.reading:
        raise InvalidTarget(
            f"{name} is the name of two listeners, and leads only to the second: rename one."
        )
    return Listener(name, function, reading)
