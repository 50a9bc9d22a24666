"""Perform one attempt here and now, as the shortest-lived of workers."""

from __future__ import annotations

from ..exceptions import InvalidTransition
from ..models import AbstractAttempt
from ..models.database import database_of
from ..store import Claim, Store, store_for
from .acknowledging import acknowledge
from .incarnation import Alone
from .options import Options
from .runner import Runner
from .timeouts import NoWatch


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
    options = Options(database=store.alias, queues=(attempt.queue,), name="perform")
    alone = Alone(store, options)
    with alone.born() as me:
        store.promote_one(attempt.pk)
        claim = store.claim_one(me.worker.pk, attempt.pk)
        if claim is not None:
            runner = Runner(store, alone, NoWatch())
            execution = runner.perform(claim)
            if execution is not None:
                runner.progress.write_last([claim])
                acknowledge(store, [execution])
            if claim.limit_key:
                store.wake([claim.limit_key])
        # Not where an error passes: what is still held then is taken back when the lease runs out.
        store.deregister(me.worker.pk)
    return claim
