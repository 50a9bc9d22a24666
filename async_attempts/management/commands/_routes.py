"""The command `attempts routes`: the queue of each target, and what says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...conf import DEFAULT_QUEUE, SETTING, settings
from ...targets import Policy, queue_of, registered, route_of

HEAD: Final = ("TARGET", "QUEUE", "BY")
GLOB: Final = frozenset("*?[")


def table() -> Iterator[tuple[str, ...]]:
    """Yield the head and a row for each target that is decorated, or named in `TARGETS`."""
    yield HEAD
    named = {name: Policy() for name in settings().TARGETS if not GLOB.intersection(name)}
    known = {**named, **registered()}
    for name in sorted(known):
        yield name, queue_of(name, known[name]), _rule(route_of(name), known[name])


def _rule(pattern: str | None, policy: Policy) -> str:
    if pattern is not None:
        return f"{SETTING}['ROUTES'][{pattern!r}]"
    return "its decorator" if policy.queue else f"nothing: {DEFAULT_QUEUE!r} by default"
