"""The list of `attempts events`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...events import listeners
from ...models.promise import DEFAULT_QUEUE
from ...targets import own_name, registered

EVENTS_HEAD: Final = ("EVENT", "LISTENER", "QUEUE", "WHEN")


def subscriptions() -> Iterator[tuple[str, ...]]:
    """Yield the pattern, the listener, its queue and the name of its condition, by pattern."""
    for listener in listeners():
        policy = registered().get(listener.name)
        of_target = policy.queue if policy else None
        for pattern, when, options in listener.subscriptions:
            queue = options.queue or of_target or DEFAULT_QUEUE
            condition = "-" if when is None else own_name(when) or type(when).__name__
            yield pattern, listener.name, queue, condition
