"""Recording of outcomes, and their announcement."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Final, NamedTuple
from uuid import UUID

from django.db import Error, IntegrityError

from ... import signals
from ...conf import settings
from ...exceptions import Retry, WorkerLost
from ...lifecycle import (
    Expired,
    Failed,
    FailureKind,
    Outcome,
    Released,
    Retried,
    Snoozed,
    Succeeded,
)
from ...models import AbstractAttempt
from ...store import TOO_LATE, Claim, Rescue, Result, Store, Unrecorded
from ...store.transactions import refused
from .announcer import Announcer
from .connection_cleanup import saved_testcase
from .outcomes import error_of
from .runner import Execution

logger = logging.getLogger("async_attempts")

SIGNAL_OF: Final[dict[type, signals.Announced]] = {
    Succeeded: signals.succeeded,
    Retried: signals.retried,
    Snoozed: signals.snoozed,
    Released: signals.released,
    Failed: signals.failed,
    Expired: signals.expired,
}


Fence = tuple[bytes, int]
"""An attempt's id and the number of a claim."""


class Left(NamedTuple):
    """The fences of claims of which nothing is recorded.

    `lost`: their claims are over. `locked`: somebody else locks their rows, so offer them again.
    """

    lost: Collection[Fence]
    locked: Collection[Fence]


def acknowledge(store: Store, executions: Sequence[Execution], announcer: Announcer) -> Left:
    """Record what isn't yet, in one batch, and announce all that is recorded."""
    by_worker: defaultdict[UUID, list[Result]] = defaultdict(list)
    for execution in executions:
        if not execution.recorded:
            claim = execution.claim
            by_worker[claim.worker_id].append((claim, execution.outcome))
    lost: set[Fence] = set()
    locked: set[Fence] = set()
    for worker_id, results in by_worker.items():
        unrecorded = _finish(store, worker_id, results)
        lost.update(claim.fence for claim in unrecorded)
        locked.update(claim.fence for claim in unrecorded.locked)
    if not lost and not signals.succeeded.receivers:
        executions = [e for e in executions if type(e.outcome) is not Succeeded]
    for execution in executions:
        if locked and not execution.recorded and execution.claim.fence in locked:
            continue
        if execution.recorded or not lost or execution.claim.fence not in lost:
            _announce(store, execution, announcer)
        elif not isinstance(execution.outcome, Released):
            claim, outcome = execution[:2]
            announcer.announce(signals.stale, Execution, claim=claim, outcome=outcome)
    return Left(lost, locked)


def _finish(store: Store, worker_id: UUID, results: Sequence[Result]) -> Unrecorded:
    """Record all at once, or one by one when the database refuses what one of them holds.

    The one is failed in place of its outcome: else it would be offered for ever, and its
    neighbours with it.
    """
    try:
        return store.outcomes.finish(worker_id, results)
    except Error as error:
        if not (isinstance(error, IntegrityError) or refused(error)):
            raise
        if len(results) > 1:
            parts = [_finish(store, worker_id, [one]) for one in results]
            return Unrecorded(chain(*parts), chain(*(part.locked for part in parts)))
        claim, outcome = results[0]
        logger.error(
            "%s: %s could not be recorded: %s",
            claim,
            type(outcome).__name__.lower(),
            type(error).__name__,
        )
        failed = Failed("its outcome could not be recorded", error_of(claim, error))
        return store.outcomes.finish(worker_id, [(claim, failed)])


def _announce(store: Store, execution: Execution, announcer: Announcer) -> None:
    claim, outcome, exception = execution[:3]
    announcer.announce(
        SIGNAL_OF[type(outcome)], Execution, claim=claim, outcome=outcome, exception=exception
    )
    if exception is not None and _is_for_hooks(outcome, exception):
        _call_error_hook(store, claim.id, exception, announcer)


def _is_for_hooks(outcome: Outcome, exception: BaseException) -> bool:
    """Return True for a malfunction: not for an answer, nor for a retry that a target asked for."""
    if isinstance(outcome, Failed):
        return outcome.error.kind != FailureKind.REFUSED
    return isinstance(outcome, Retried) and not isinstance(exception, Retry)


def announce_expired(claims: Iterable[Claim], announcer: Announcer) -> None:
    """Tell of what a claim found to be too late, and expired."""
    for claim in claims:
        announcer.announce(signals.expired, Claim, claim=claim, outcome=TOO_LATE, exception=None)


def announce_rescue(store: Store, rescue: Rescue, announcer: Announcer) -> None:
    """Tell of what was taken back from a dead worker, its hooks like any other failure's."""
    announcer.announce(
        signals.rescued,
        Rescue,
        worker_id=rescue.worker_id,
        attempt_ids=rescue.attempt_ids,
        failed_ids=rescue.failed_ids,
    )
    for attempt_id in rescue.attempt_ids:
        error = WorkerLost(f"worker {rescue.worker_id} was lost")
        _call_error_hook(store, attempt_id, error, announcer)


def _call_error_hook(
    store: Store, attempt_id: UUID, error: BaseException, announcer: Announcer
) -> None:
    """Call the row's `handle_perform_error`, if the project has something to say there."""
    overridden = (
        store.database.model.handle_perform_error is not AbstractAttempt.handle_perform_error
    )
    if overridden or settings().ON_ERROR is not None:
        announcer.call(partial(_handle_perform_error, store, attempt_id, error))


def _handle_perform_error(store: Store, attempt_id: UUID, error: BaseException) -> None:
    try:
        if (attempt := store.database.attempts.filter(pk=attempt_id).first()) is not None:
            with saved_testcase():
                attempt.handle_perform_error(error)
    except BaseException as exception:
        logger.error(
            "attempt %s: handle_perform_error raised %s", attempt_id, type(exception).__name__
        )
