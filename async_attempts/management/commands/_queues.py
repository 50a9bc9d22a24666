"""The list and the verbs of `attempts queues`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...conf import limits
from ...lifecycle import Status
from ...store import Store

QUEUES_HEAD: Final = ("QUEUE", "STATE", "PENDING", "LIMITS")
MOST_COUNTED: Final = 100_000


def queues(store: Store) -> Iterator[tuple[str, ...]]:
    """Yield the declared queues as the rows of a table."""
    paused = store.queue_state.look(()).paused
    for name, own in limits().items():
        state = "paused" if name in paused else "active"
        rows = store.database.attempts.filter(queue=name, status=Status.PENDING)
        pending = rows[:MOST_COUNTED].count()
        number = f"{pending}+" if pending == MOST_COUNTED else str(pending)
        yield name, state, number, str(own) or "-"
