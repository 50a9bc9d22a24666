"""Transactional outbox tasks for Django.

An app imports what it uses from here; each name is loaded when it is first used, so that this
package can be imported before the app registry is ready.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .backoff import Backoff
    from .calls import Call, Flow, aenqueue, call, enqueue, enqueue_many, parallel, schedule
    from .events import Event, aemit, emit, event, on
    from .exceptions import (
        AttemptCancelled,
        AttemptExpired,
        AttemptFailed,
        AttemptGone,
        AttemptRefused,
        AttemptTimeout,
        AttemptUnsuccessful,
        ConditionFailed,
        DuplicateAttempt,
        Expire,
        Fail,
        InvalidArguments,
        InvalidOption,
        InvalidTarget,
        InvalidTransition,
        QueueFull,
        Refused,
        ResultNotKept,
        Retry,
        Snooze,
        WaitingInTransaction,
        WrongTransaction,
    )
    from .models import AbstractAttempt, Attempt, Changes, Schedule
    from .payload import Arguments
    from .payload.storable import storable
    from .queues import pause_queue, resume_queue
    from .results import Ending, Progress, agather, gather
    from .schedules import recurring
    from .statistics import Executions, QueueStats, Stats, astats, stats
    from .streams import Streamed, aenqueue_stream, enqueue_stream
    from .targets import attemptable
    from .worker.execution.current import CurrentAttempt, current_attempt

__all__ = [
    "AbstractAttempt",
    "Arguments",
    "Attempt",
    "AttemptCancelled",
    "AttemptExpired",
    "AttemptFailed",
    "AttemptGone",
    "AttemptRefused",
    "AttemptTimeout",
    "AttemptUnsuccessful",
    "Backoff",
    "Call",
    "Changes",
    "ConditionFailed",
    "CurrentAttempt",
    "DuplicateAttempt",
    "Ending",
    "Event",
    "Executions",
    "Expire",
    "Fail",
    "Flow",
    "InvalidArguments",
    "InvalidOption",
    "InvalidTarget",
    "InvalidTransition",
    "Progress",
    "QueueFull",
    "QueueStats",
    "Refused",
    "ResultNotKept",
    "Retry",
    "Schedule",
    "Snooze",
    "Stats",
    "Streamed",
    "WaitingInTransaction",
    "WrongTransaction",
    "aemit",
    "aenqueue",
    "aenqueue_stream",
    "agather",
    "astats",
    "attemptable",
    "call",
    "current_attempt",
    "emit",
    "enqueue",
    "enqueue_many",
    "enqueue_stream",
    "event",
    "gather",
    "on",
    "parallel",
    "pause_queue",
    "recurring",
    "resume_queue",
    "schedule",
    "stats",
    "storable",
]

_HOMES = {
    ".backoff": "Backoff",
    ".calls": "Call Flow aenqueue call enqueue enqueue_many parallel schedule",
    ".events": "Event aemit emit event on",
    ".exceptions": """
        AttemptCancelled AttemptExpired AttemptFailed AttemptGone AttemptRefused AttemptTimeout
        AttemptUnsuccessful ConditionFailed DuplicateAttempt Expire Fail InvalidArguments
        InvalidOption InvalidTarget InvalidTransition QueueFull Refused ResultNotKept Retry Snooze
        WaitingInTransaction WrongTransaction
    """,
    ".models": "AbstractAttempt Changes Schedule",
    ".payload": "Arguments storable",
    ".queues": "pause_queue resume_queue",
    ".results": "Ending Progress agather gather",
    ".schedules": "recurring",
    ".statistics": "Executions QueueStats Stats astats stats",
    ".streams": "Streamed aenqueue_stream enqueue_stream",
    ".targets": "attemptable",
    ".worker.execution.current": "CurrentAttempt current_attempt",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "Attempt":
        # Not kept: which model it is depends on a setting that tests may override.
        return import_module(".models", __name__).get_attempt_model()
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
