"""The answers of `/livez`, `/readyz` and `/metrics`."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ...conf import settings
from ..shared.shared_memory import ChildState, SupervisorState, now
from .readiness import Readiness

logger = logging.getLogger("async_attempts")

SILENCE: Final = 30.0
"""Seconds that a loop may sit out a database that doesn't answer, however short the lease."""

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text exposition format."""


class WorkerStatus:
    """The state of a worker, read from the memory that its processes share; ages in seconds."""

    def __init__(self, states: Sequence[ChildState], mine: SupervisorState) -> None:
        self._states = states
        self._mine = mine
        self._started_at = now()

    def have_all_ticked(self) -> bool:
        """Return True if the claim loop of each child has ticked."""
        return all(state.ticked_at for state in self._states)

    def tick_ages(self) -> list[float]:
        """Return the time since the last tick of each child's claim loop."""
        # A new child hasn't ticked yet.
        return [now() - max(s.ticked_at, s.started_at, self._started_at) for s in self._states]

    def lease_age(self) -> float:
        """Return the time since the lease was last renewed."""
        return now() - self._mine.renewed_at

    def performed(self) -> int:
        """Return the number of executions that have ended since the worker's start."""
        return sum(state.performed for state in self._states)

    def in_flight(self) -> int:
        """Return the number of attempts that are claimed and not recorded."""
        return sum(state.in_flight for state in self._states)

    def missing_keys(self) -> Mapping[str, int]:
        """Return the number of attempts put off for want of each key, by its id."""
        return sum((Counter(state.missing_keys()) for state in self._states), Counter())

    def stopping(self) -> bool:
        """Return True if the worker was told to stop."""
        return self._mine.is_stopping


class Answer(NamedTuple):
    """An HTTP status, a text, and the text's media type."""

    status: int
    text: str
    media_type: str = "text/plain; charset=utf-8"


def livez(status: WorkerStatus) -> Answer:
    """Answer 503 as long as a child's claim loop hasn't ticked for LEASE seconds, 30 at least.

    Asks no database.

    A worker that stops has no loop to tick; how long that may take is its supervisor's concern.
    """
    if status.stopping():
        return Answer(200, "ok: stopping")
    silent = [
        f"child {number} has not ticked for {age:.0f} s"
        for number, age in enumerate(status.tick_ages())
        if age > max(settings().LEASE, SILENCE)
    ]
    return Answer(503, "; ".join(silent)) if silent else Answer(200, "ok")


def readyz(status: WorkerStatus, readiness: Readiness) -> Answer:
    """Answer 503 while it stops, its lease is overdue, or its database is away or not migrated.

    The database is asked at most once a second.
    """
    if status.stopping():
        return Answer(503, "stopping")
    if (age := status.lease_age()) > settings().LEASE:
        return Answer(503, f"the lease was not renewed for {age:.0f} s")
    problem = readiness.problem()
    if problem is None:
        return Answer(200, "ok")
    if problem.__cause__ is not None:
        # A driver's text may hold the server's address and the user's name.
        return Answer(503, f"the database {readiness.alias!r} can't be reached")
    return Answer(503, str(problem))


def metrics(status: WorkerStatus) -> Answer:
    """The worker's own figures, then what the setting METRICS gives; 500 if that raises."""
    own = "".join(_own_metrics(status))
    hook = settings().METRICS
    if hook is None:
        return Answer(200, own, METRICS_TYPE)
    try:
        more = hook()
    except Exception as error:
        logger.error("METRICS raised %s", type(error).__name__)
        return Answer(500, f"METRICS raised {type(error).__name__}")
    if not isinstance(more, str):
        logger.error("METRICS returned %s, not str", type(more).__name__)
        return Answer(500, f"METRICS returned {type(more).__name__}, not str")
    return Answer(200, own + more.rstrip("\n") + "\n" * bool(more), METRICS_TYPE)


def _own_metrics(status: WorkerStatus) -> Iterator[str]:
    yield _metric("performed_total", "counter", "Executions ended.", {"": status.performed()})
    yield _metric("in_flight", "gauge", "Attempts claimed, not finished.", {"": status.in_flight()})
    yield _metric(
        "tick_age_seconds",
        "gauge",
        "Since a child's claim loop last ticked.",
        {f'{{child="{number}"}}': age for number, age in enumerate(status.tick_ages())},
    )
    yield _metric("lease_age_seconds", "gauge", "Since the last renewal.", {"": status.lease_age()})
    yield _metric(
        "missing_key_total",
        "counter",
        "Attempts put off for want of a key.",
        {
            f'{{key="{_escaped(key_id)}"}}': number
            for key_id, number in sorted(status.missing_keys().items())
        },
    )


def _escaped(label: str) -> str:
    """`label` as Prometheus' text format has it; the id of a key may come out of a row."""
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _metric(name: str, kind: str, help_text: str, samples: dict[str, float]) -> str:
    name = f"async_attempts_worker_{name}"
    head = f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"
    return head + "".join(f"{name}{labels} {_number(value)}\n" for labels, value in samples.items())


def _number(value: float) -> str:
    return "+Inf" if math.isinf(value) else f"{value:.17g}"
