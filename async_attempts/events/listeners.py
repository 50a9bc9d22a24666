"""The listeners of the imported modules, and their subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from ..targets import Policy

MOST: Final = 4096
"""The most names of events whose listeners are kept: an app may emit endless ones by mistake."""

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

    `name`: dotted, to find it by. `reading`: the spec of its module at that import.
    """

    name: str
    function: Callable[..., Any]
    reading: object
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


def listeners() -> Sequence[Listener]:
    """Return every listener, in the order in which they were imported."""
    return tuple(registry.listeners.values())
