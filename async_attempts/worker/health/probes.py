"""What a worker answers when asked for its health: is it alive, is it ready, what does it do."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from ...conf import settings
from .readiness import Readiness

logger = logging.getLogger("async_attempts")

SILENCE: Final = 30.0
"""Seconds that a loop may sit out a database that doesn't answer, however short the lease."""

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text exposition format."""


class WorkerStatus(Protocol):
    """How the worker does, read from memory that its processes share; ages in seconds."""

    def tick_ages(self) -> list[float]:
        """Since each child's claim loop last ticked."""

    def lease_age(self) -> float:
        """Since the lease was last renewed."""

    def performed(self) -> int:
        """Executions that have ended since the worker's start."""

    def in_flight(self) -> int:
        """Attempts claimed and not yet finished."""

    def missing_keys(self) -> Mapping[str, int]:
        """How often an attempt could not be opened for want of which key, by its id."""

    def stopping(self) -> bool:
        """Whether it was told to stop."""


class Answer(NamedTuple):
    """An HTTP status, a text, and the text's media type."""

    status: int
    text: str
    media_type: str = "text/plain; charset=utf-8"


def livez(status: WorkerStatus) -> Answer:
    """503 as long as a child's claim loop hasn't ticked for LEASE seconds, 30 at least.

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
    """503 while it stops, its lease is overdue, or its database isn't there or isn't migrated.

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
