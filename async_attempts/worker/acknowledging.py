"""Record executions, and tell those who want to know: the one place where outcomes are taken."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from django.db import Error, IntegrityError
from django.dispatch import Signal

from .. import signals
from ..conf import settings
from ..exceptions import WorkerLost
from ..lifecycle import Expired, Failed, Released, Retried, Snoozed, Succeeded
from ..models import AbstractAttempt
from ..store import Claim, Rescue, Result, Store
from ..store.transactions import refused
from .errors import error_of
from .leftovers import connections_here, open_blocks
from .runner import Execution
from .testcases import saved_testcase

logger = logging.getLogger("async_attempts")

SIGNAL_OF: Final[dict[type, Signal]] = {
    Succeeded: signals.succeeded,
    Retried: signals.retried,
    Snoozed: signals.snoozed,
    Released: signals.released,
    Failed: signals.failed,
    Expired: signals.expired,
}


def acknowledge(store: Store, executions: Sequence[Execution]) -> Collection[bytes]:
    """Record what isn't yet, in one batch, and announce all of it.

    Returns the ids of those whose claims were lost: of them nothing is recorded.
    """
    by_worker: defaultdict[UUID, list[Result]] = defaultdict(list)
    for execution in executions:
        if not execution.recorded:
            claim = execution.claim
            by_worker[claim.worker_id].append((claim, execution.outcome))
    lost = {
        claim.id_bytes
        for worker_id, results in by_worker.items()
        for claim in _finish(store, worker_id, results)
    }
    if not lost and not signals.succeeded.receivers:
        executions = [e for e in executions if type(e.outcome) is not Succeeded]
    for execution in executions:
        if execution.recorded or execution.claim.id_bytes not in lost:
            _announce(store, execution)
        elif not isinstance(execution.outcome, Released):
            signals.stale.send_robust(Execution, claim=execution.claim, outcome=execution.outcome)
    return lost


def _finish(store: Store, worker_id: UUID, results: Sequence[Result]) -> Sequence[Claim]:
    """Record all at once, or one by one when the database refuses what one of them holds.

    The one is failed in place of its outcome: else it would be offered for ever, and its
    neighbours with it.
    """
    try:
        return store.finish(worker_id, results)
    except Error as error:
        if not (isinstance(error, IntegrityError) or refused(error)):
            raise
        if len(results) > 1:
            return [claim for one in results for claim in _finish(store, worker_id, [one])]
        claim, outcome = results[0]
        logger.error(
            "%s: %s could not be recorded: %s",
            claim,
            type(outcome).__name__.lower(),
            type(error).__name__,
        )
        failed = Failed("its outcome could not be recorded", error_of(claim, error))
        return store.finish(worker_id, [(claim, failed)])


def _announce(store: Store, execution: Execution) -> None:
    claim, outcome, exception = execution[:3]
    signal = SIGNAL_OF[type(outcome)]
    if signal.has_listeners(Execution):
        signal.send_robust(Execution, claim=claim, outcome=outcome, exception=exception)
    if isinstance(outcome, Retried | Failed) and exception is not None:
        call_error_hook(store, claim.id, exception)


def announce_rescue(store: Store, rescue: Rescue) -> None:
    """Tell of what was taken back from a dead worker, its hooks like any other failure's."""
    signals.rescued.send_robust(
        Rescue,
        worker_id=rescue.worker_id,
        attempt_ids=rescue.attempt_ids,
        failed_ids=rescue.failed_ids,
    )
    for attempt_id in rescue.attempt_ids:
        call_error_hook(store, attempt_id, WorkerLost(f"worker {rescue.worker_id} was lost"))


def call_error_hook(store: Store, attempt_id: UUID, error: BaseException) -> None:
    """Call the row's `handle_perform_error`, if the project has something to say there."""
    overridden = store.model.handle_perform_error is not AbstractAttempt.handle_perform_error
    if not overridden and settings().ON_ERROR is None:
        return
    blocks = open_blocks()
    try:
        if (attempt := store.attempts.filter(pk=attempt_id).first()) is not None:
            with saved_testcase():
                attempt.handle_perform_error(error)
    except BaseException as exception:
        logger.error(
            "attempt %s: handle_perform_error raised %s", attempt_id, type(exception).__name__
        )
    finally:
        connections_here().clean(blocks)
