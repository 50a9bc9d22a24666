"""Events for the tests, in one database."""

from __future__ import annotations

from typing import Any

from async_attempts import Attempt, event

COMPLETED = "shop.order.completed"


def emitted(database: str, name: str = COMPLETED, /, **payload: Any) -> list[Attempt]:
    """The attempts of an event that was emitted into `database`."""
    return event(name, **payload).using(database=database).emit()


def names(attempts: list[Attempt]) -> list[str]:
    return [attempt.method_name for attempt in attempts]
