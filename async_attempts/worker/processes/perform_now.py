"""`Attempt.perform()`: a worker that registers for a single attempt."""

from __future__ import annotations

import logging
import time
from typing import Final

from ...conf import settings
from ...exceptions import InvalidTransition
from ...models import AbstractAttempt
from ...models.saving import database_of
from ...store import Claim, Claimed, Store, store_for
from ..execution.acknowledge import acknowledge, announce_expired
from ..execution.announcer import AtOnce
from ..execution.runner import Execution, Runner
from ..execution.timeouts import NoWatch
from ..shared.options import Options
from ..shared.registration import InProcessLease
from ..shared.shared_memory import now

PAUSE: Final = 0.05
"""Seconds between two tries to record what somebody else locks."""

logger = logging.getLogger("async_attempts")


def perform_now(attempt: AbstractAttempt) -> None:
    """Claim `attempt`, call its target, record the outcome. Its timeout isn't enforced.

    Raises InvalidTransition when it isn't due, or not claimable; RuntimeError inside an atomic
    block: the claim has to be committed before the target is called.
    """
    store = store_for(database_of(attempt))
    if _perform(store, attempt) is None:
        attempt.refresh_from_db()
        raise InvalidTransition(
            f"{attempt}: perform is not possible: it is {attempt.state}, due "
            f"{attempt.scheduled_at:%Y-%m-%d %H:%M:%S %Z}."
        )


def _perform(store: Store, attempt: AbstractAttempt) -> Claim | None:
    options = Options(database=store.database.alias, queues=(attempt.queue,), name="perform")
    lease = InProcessLease(store, options)
    with lease.register() as me:
        store.claims.promote_one(attempt.pk)
        taken = Claimed()
        claim = store.claims.claim_one(me.pk, attempt.pk, taken)
        announce_expired(taken.too_late, AtOnce())
        if taken.unrecorded:
            # Its row is locked: it is taken back when the lease runs out.
            return None
        if claim is not None:
            runner = Runner(store, lease, NoWatch())
            execution = runner.perform(claim)
            if execution is not None and not _is_recorded(store, runner, execution):
                logger.warning("%s: another transaction locks its row: nothing is recorded", claim)
                return claim
            if claim.limit_key:
                store.limits.unpark([claim.limit_key])
        # Not where an error passes: what is still held then is taken back when the lease runs out.
        store.workers.deregister(me.pk)
    return claim


def _is_recorded(store: Store, runner: Runner, execution: Execution) -> bool:
    """Record it; False if another transaction locks the row for longer than a lease."""
    until = now() + settings().LEASE
    while True:
        locked = runner.progress.write_last([execution.claim])
        if not locked and not acknowledge(store, [execution], AtOnce()).locked:
            return True
        if now() >= until:
            return False
        time.sleep(PAUSE)
