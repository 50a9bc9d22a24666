"""The listeners of the imported modules: the decorator `@on`, and what it subscribes them to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from inspect import unwrap
from typing import Any, Final, NamedTuple, TypeVar, Unpack

from asgiref.sync import iscoroutinefunction

from ..exceptions import InvalidOption, InvalidTarget
from ..targets import (
    EventOptions,
    Policy,
    TargetOptions,
    attemptable,
    is_marked,
    module_load_id,
    own_name,
    policy_with,
    underlying,
)

MOST: Final = 4096
"""The most names of events whose listeners are kept: an app may emit endless ones by mistake."""

Function = TypeVar("Function", bound="Callable[..., Any] | classmethod[Any, ..., Any]")

Condition = Callable[[Mapping[str, Any]], object]


class Subscription(NamedTuple):
    """One `@on`: the events, the condition and the options."""

    pattern: str
    when: Condition | None
    options: Policy

    def matches(self, event: str) -> bool:
        return fnmatchcase(event, self.pattern)


@dataclass(frozen=True, slots=True)
class Listener:
    """A function and its subscriptions, in the order in which they are written.

    `name`: dotted, to find it by. `load_id`: see `module_load_id`.
    """

    name: str
    function: Callable[..., Any]
    load_id: object
    subscriptions: tuple[Subscription, ...] = ()

    def named(self, subscription: Subscription) -> str:
        """Return one of its subscriptions in words, for messages."""
        return f"@on({subscription.pattern!r}) on {self.name}"

    def only_for(self, event: str) -> Listener:
        """Return the same listener with the subscriptions that match."""
        matching = tuple(one for one in self.subscriptions if one.matches(event))
        return replace(self, subscriptions=matching)

    def subscribed(self, function: Callable[..., Any], subscription: Subscription) -> Listener:
        """Return the same listener with a subscription in front of the others."""
        return replace(self, function=function, subscriptions=(subscription, *self.subscriptions))


class Registry:
    """All listeners by name. Readers need no lock: its dicts are replaced, never changed."""

    def __init__(self) -> None:
        self.listeners: dict[str, Listener] = {}
        self.by_event: dict[str, Sequence[Listener]] = {}

    def put(self, listener: Listener) -> None:
        self.listeners = {**self.listeners, listener.name: listener}
        self.by_event = {}

    def of(self, event: str) -> Sequence[Listener]:
        """Return the listeners of an event, with the subscriptions that match it."""
        # Taken before the listeners are read: what was found among older ones is kept nowhere.
        by_event = self.by_event
        if (found := by_event.get(event)) is None:
            every = [listener.only_for(event) for listener in self.listeners.values()]
            found = tuple(listener for listener in every if listener.subscriptions)
            if len(by_event) >= MOST:
                by_event.clear()
            by_event[event] = found
        return found


registry: Final = Registry()


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


def listeners() -> Sequence[Listener]:
    """Return every listener, in the order in which they were imported."""
    return tuple(registry.listeners.values())


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
    load_id = module_load_id(function)
    known = registry.listeners.get(name)
    if known is None:
        return Listener(name, function, load_id)
    if unwrap(function) is unwrap(known.function):
        return known
    if load_id is not None and load_id is known.load_id:
        raise InvalidTarget(
            f"{name} is the name of two listeners, and leads only to the second: rename one."
        )
    return Listener(name, function, load_id)
