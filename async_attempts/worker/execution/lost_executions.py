"""Attempts that may have begun before and whose outcome is lost: whether they may begin again."""

from __future__ import annotations

import logging
from typing import Final

from ...exceptions import WorkerLost
from ...lifecycle import Failed, FailureKind, Released
from ...store import Claim, store_for
from ...store.workers import lost_too_often
from ...targets import Policy, crashes_allowed, is_at_most_once, known_policy
from .outcomes import UNEXPECTED_DELAY, error_of
from .recorded_text import class_name

logger = logging.getLogger("async_attempts")


LOST_KINDS: Final = (FailureKind.CRASH, FailureKind.LEASE, FailureKind.TIMEOUT)
"""The kinds of failures that a lost execution may have."""

NOT_AGAIN: Final = "it is not begun again"


def refuse_suspect(claim: Claim, policy: Policy) -> None:
    """Raise WorkerLost for a suspect that was lost as often as its target allows.

    Whoever took it back from its worker may not have known its target. A loss of one that was
    claimed only has left no failure.
    """
    if claim.num_crashes < crashes_allowed(policy, claim.queue) or claim.num_attempts <= 1:
        return
    failures = store_for(claim.database).database.failures
    kinds = set(failures.filter(attempt_id=claim.id).values_list("kind", flat=True).distinct())
    if not kinds or not kinds.isdisjoint(LOST_KINDS):
        raise WorkerLost(f"{lost_too_often(claim.num_crashes)}; {NOT_AGAIN}")


def unexpected(claim: Claim, exception: BaseException) -> Released | Failed:
    """Return the outcome of an execution in which something of the worker's own was broken."""
    outcome = without_outcome(claim)
    logger.error(
        "%s: performing it raised %s in the worker itself; %s",
        claim,
        class_name(exception),
        "failed" if isinstance(outcome, Failed) else f"released for {outcome.delay:.0f} s",
    )
    return outcome


def without_outcome(claim: Claim) -> Released | Failed:
    """Return what becomes of an execution whose target may have been called, to no known end."""
    policy = known_policy(claim.target, claim.method_name)
    if policy is not None and is_at_most_once(policy, claim.queue):
        reason = f"its outcome was lost in the worker; {NOT_AGAIN}"
        return Failed(reason, error_of(claim, WorkerLost(reason), FailureKind.CRASH))
    return Released(UNEXPECTED_DELAY)
