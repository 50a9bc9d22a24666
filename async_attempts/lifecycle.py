"""The states of an attempt, the moves between them, and the outcomes of an execution.

`MOVES` is the only place that knows the moves; the store's statements and the documentation's
table are tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _


class Status(TextChoices):
    """The six words in the column `status`."""

    SCHEDULED = "scheduled", _("scheduled")
    PENDING = "pending", _("pending")
    WAITING = "waiting", _("waiting")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    EXPIRED = "expired", _("expired")


RUNNING: Final = "running"
"""Not a status: a pending attempt that a worker has claimed."""

GONE: Final = "gone"
"""Not a status either: an attempt that was deleted."""

FINAL: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.EXPIRED})
LIVE: Final = frozenset({Status.SCHEDULED, Status.PENDING, Status.WAITING})


class FailureKind(TextChoices):
    """The reason why an execution did not succeed."""

    ERROR = "error", _("error")
    TIMEOUT = "timeout", _("timeout")
    CRASH = "crash", _("crash")
    LEASE = "lease", _("lease lost")
    INTEGRITY = "integrity", _("integrity")
    UNKNOWN_TARGET = "unknown target", _("unknown target")
    REFUSED = "refused", _("refused")


class Move(NamedTuple):
    """One row of the lifecycle table; None as a source is "does not exist yet"."""

    verb: str
    sources: frozenset[str | None]
    targets: frozenset[str]


def _move(verb: str, sources: str, targets: str) -> Move:
    names: list[str | None] = [None if name == "-" else name for name in sources.split()]
    return Move(verb, frozenset(names), frozenset(targets.split()))


MOVES: Final = (
    _move("enqueue", "-", "pending scheduled waiting"),
    _move("promote", "scheduled", "pending"),
    _move("unblock", "waiting", "pending scheduled"),
    _move("expire", "pending scheduled waiting running", "expired"),
    _move("claim", "pending", "running"),
    _move("succeed", "running", "succeeded"),
    _move("put off", "running", "scheduled"),
    _move("release", "running", "pending scheduled"),
    _move("rescue", "running", "pending scheduled"),
    _move("block", "running", "waiting"),
    _move("fail", "pending scheduled waiting running", "failed"),
    _move("retry", "failed expired", "pending scheduled waiting"),
    _move("reschedule", "pending scheduled waiting", "pending scheduled"),
)


def sources_of(verb: str) -> frozenset[str | None]:
    """Return the states from which `verb` may move an attempt. Raises KeyError."""
    return _SOURCES[verb]


_SOURCES: Final = {move.verb: move.sources for move in MOVES}


@dataclass(frozen=True, slots=True)
class Error:
    """The error of an execution; `details` is sealed (message and traceback)."""

    kind: str
    error_class: str
    details: bytes


NOT_KEPT: Final = b""
"""The value in place of a result that wasn't kept; a sealed result is never empty."""


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The target returned; `result` is sealed, None if it returned None.

    NOT_KEPT: it returned something, and results aren't kept.
    """

    result: bytes | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """The target failed and is to be performed again in `delay` seconds.

    `queue`, `priority`: where; "" and None leave it where it is.
    `was_called`: False if it wasn't come to; a suspect remains one then.
    """

    delay: float
    error: Error
    queue: str = ""
    priority: int | None = None
    was_called: bool = True


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The target asked to be called again in `delay` seconds; the execution doesn't count."""

    delay: float


@dataclass(frozen=True, slots=True)
class Released:
    """The claim is given back unused, with its count; claimable again in `delay` seconds.

    `reason`: why it has to wait, if it has to.
    """

    delay: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed for good."""

    reason: str
    error: Error


@dataclass(frozen=True, slots=True)
class Expired:
    """The attempt should no longer run."""

    reason: str


Outcome = Succeeded | Retried | Snoozed | Released | Failed | Expired
"""The outcome of one execution. Performing yields it; the store's finish records it."""
