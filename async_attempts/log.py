"""The log lines of the package, written by receivers of its signals.

Lines name the target, the attempt's id and the error's class, never arguments, results or an
error's message: those may hold secrets.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

from django.dispatch import receiver

from . import signals
from .lifecycle import Failed, FailureKind, Outcome, Retried

logger = logging.getLogger("async_attempts")

PACKAGE = str(Path(__file__).parent)


def where(exception: BaseException | None) -> str:
    """Return the last line outside of this package that the exception passed: "clients.py:12"."""
    frames = traceback.extract_tb(exception.__traceback__) if exception else []
    frames = [frame for frame in frames if not frame.filename.startswith(PACKAGE)] or frames
    if not frames:
        return ""
    return f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}"


def _executions(number: int) -> str:
    return "1 execution" if number == 1 else f"{number} executions"


@receiver(signals.retried.line)
def log_retried(claim: Any, outcome: Retried, exception: Any = None, **kwargs: Any) -> None:
    logger.warning(
        "%s: execution %d did not succeed, again in %.0f s: %s%s",
        claim, claim.num_attempts, outcome.delay, outcome.error.error_class, where(exception),
    )  # fmt: skip


@receiver(signals.failed.line)
def log_failed(claim: Any, outcome: Failed, exception: Any = None, **kwargs: Any) -> None:
    if outcome.error.kind == FailureKind.REFUSED:
        logger.info("%s: refused: %s%s", claim, outcome.error.error_class, where(exception))
        return
    logger.error(
        "%s: failed for good after %s: %s%s",
        claim, _executions(claim.num_attempts), outcome.error.error_class, where(exception),
    )  # fmt: skip


@receiver(signals.stale.line)
def log_stale(claim: Any, outcome: Outcome, **kwargs: Any) -> None:
    logger.warning(
        "%s: its claim %d does not hold any more; %s is refused",
        claim, claim.claim_seq, type(outcome).__name__.lower(),
    )  # fmt: skip


@receiver(signals.rescued.line)
def log_rescued(worker_id: Any, attempt_ids: Any, failed_ids: Any, **kwargs: Any) -> None:
    logger.warning("worker %s was lost; took back %d attempts", worker_id, len(attempt_ids))
    for attempt_id in failed_ids:
        logger.error("attempt %s: failed for good, its workers were lost too often", attempt_id)


@receiver(signals.overdue.line)
def log_overdue(attempt_ids: Any, **kwargs: Any) -> None:
    logger.warning(
        "expired %d attempts that no worker claimed before their expires_at", len(attempt_ids)
    )


@receiver(signals.worker_started.line)
def log_worker_started(worker: Any, **kwargs: Any) -> None:
    logger.info("worker %s started for %s", worker, ", ".join(worker.queues))


@receiver(signals.worker_stopped.line)
def log_worker_stopped(worker: Any, **kwargs: Any) -> None:
    logger.info("worker %s stopped", worker)
