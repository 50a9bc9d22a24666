"""The decision after a failed execution: when and where the next one is, or why there is none.

The database is asked only where a target's author has set a limit that its rows count.
"""

from __future__ import annotations

import logging
from datetime import datetime
from math import isnan
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error

from ...backoff import Backoff
from ...conf import defaults_of, settings
from ...exceptions import InvalidOption, Retry, Snooze
from ...models import DatabaseNow
from ...store import store_for
from ...targets import Policy
from ...values import CENTURY, seconds_of
from .recorded_text import class_name

logger = logging.getLogger("async_attempts")

DEFAULT_BACKOFF: Final = Backoff()


class Counted(Protocol):
    """A claim, or the row of one that is to be taken back."""

    @property
    def id(self) -> UUID: ...
    @property
    def num_attempts(self) -> int: ...
    @property
    def max_attempts(self) -> int | None: ...
    @property
    def queue(self) -> str: ...
    @property
    def started_at(self) -> datetime | None: ...


class Next(NamedTuple):
    """The next execution, in `delay` seconds; `reason`: why there is none, "" if there is one.

    `queue`, `priority`: where it is; "" and None leave it where it was.
    """

    delay: float = 0.0
    reason: str = ""
    queue: str = ""
    priority: int | None = None


def next_execution(
    row: Counted, policy: Policy, database: str, error: BaseException | None = None
) -> Next:
    """Return what follows an execution that did not succeed; `error`: what the target raised.

    Raises what a project's own Backoff raises.
    """
    allowed = executions_allowed(row.max_attempts, policy, row.queue)
    if row.num_attempts >= allowed:
        return Next(reason=f"attempts exhausted: {row.num_attempts} of {allowed}")
    backoff = backoff_of(policy, row.queue)
    is_asked_for = isinstance(error, Retry)
    if error is not None and not is_asked_for and backoff.gives_up_on(error):
        return Next(reason=f"its backoff gives up on {class_name(error)}")
    delay = storable(_delay(backoff, row.num_attempts, error))
    if backoff.give_up_after is not None:
        most = seconds_of(backoff.give_up_after) or 0.0
        if _seconds_since_first(row, database) + delay > most:
            return Next(reason=f"its backoff gives up after {most:g} s")
    return Next(delay, "", *_destination(backoff))


def backoff_of(policy: Policy, queue: str) -> Backoff:
    """Return the backoff of a target's attempts: its own, else the queue's."""
    return policy.backoff or defaults_of(queue).backoff or DEFAULT_BACKOFF


def executions_allowed(max_attempts: int | None, policy: Policy, queue: str) -> int:
    """Return the limit of executions: the row's, else the target's, its Backoff's, the queue's."""
    of_backoff = policy.backoff.max_attempts if policy.backoff else None
    return max_attempts or policy.max_attempts or of_backoff or defaults_of(queue).max_attempts


def storable(delay: float) -> float:
    """`delay` in seconds, within what every database can add to its now."""
    return min(max(0.0, delay), CENTURY)


def may_wait(policy: Policy, queue: str, exception: BaseException | None) -> bool:
    """Return True if the database, or a project's own code, says what follows this exception."""
    if isinstance(exception, Snooze):
        return exception.at_most is not None
    if exception is None:
        return False
    backoff = backoff_of(policy, queue)
    is_a_projects = backoff.after is not None or type(backoff) is not Backoff
    return is_a_projects or backoff.give_up_after is not None


def has_snoozed_enough(row: Counted, database: str, snooze: Snooze) -> bool:
    """Return True if the attempt was put off as often before as `snooze` allows."""
    if snooze.at_most is None:
        return False
    rows = store_for(database).database.attempts.filter(pk=row.id)
    counted = _asked(lambda: rows.values_list("num_snoozes", flat=True).first())
    return (counted or 0) >= snooze.at_most


def _delay(backoff: Backoff, num_attempts: int, error: BaseException | None) -> float:
    if isinstance(error, Retry) and error.after is not None:
        return error.after
    if backoff.after is not None and error is not None:
        try:
            asked = seconds_of(backoff.after(error))
        except Exception:
            # An error that doesn't know: a function that reads `retry_after` meets others, too.
            asked = None
        if asked is not None and not isnan(asked):
            return asked
    return backoff.delay(num_attempts)


def _destination(backoff: Backoff) -> tuple[str, int | None]:
    """Return the queue and the priority; "" and None if the settings don't have them here."""
    try:
        queue = "" if backoff.queue is None else settings().queue(backoff.queue)
        priority = None if backoff.priority is None else settings().priority(backoff.priority)
    except InvalidOption as error:
        # It was declared where the attempt was enqueued.
        logger.error("backoff: %s", error)
        return "", None
    return queue, priority


def _seconds_since_first(row: Counted, database: str) -> float:
    """Return the seconds since the first execution of those that are counted now has begun.

    Each that did not succeed has left its failure; a person's retry counts from 1 again.
    """
    store = store_for(database)

    def ask() -> tuple[datetime | None, datetime | None]:
        if row.num_attempts <= 1:
            return row.started_at, store.database.now()
        first = store.database.failures.filter(attempt_id=row.id, number=1)
        latest = first.order_by("-failed_at", "-id").values_list("started_at", DatabaseNow())
        return latest.first() or (None, None)

    began, now = _asked(ask) or (None, None)
    return 0.0 if began is None or now is None else (now - began).total_seconds()


def _asked(question: Any) -> Any:
    """Return the answer; None if the database, which may be why the target failed, gives none."""
    try:
        return question()
    except (Error, SynchronousOnlyOperation) as error:
        logger.warning("what an attempt has had so far isn't known now: %s", type(error).__name__)
        return None
