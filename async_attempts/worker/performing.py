"""Perform one attempt here and now, as the shortest-lived of workers."""

from __future__ import annotations

from ..conf import settings
from ..exceptions import InvalidTransition
from ..models import AbstractAttempt
from ..store import store_for
from .acknowledging import acknowledge
from .incarnation import new_worker
from .leases import LeaseKeeper
from .runner import Runner


def perform_now(attempt: AbstractAttempt) -> None:
    """Claim `attempt`, call its target, record the outcome.

    Raises InvalidTransition when it isn't due, or not claimable; RuntimeError inside an atomic
    block: the claim has to be committed before the target is called.
    """
    store = store_for(attempt._state.db or "default")
    worker = new_worker(queues=[attempt.queue], name="perform")
    store.register(worker, settings().LEASE)
    store.promote_one(attempt.pk)
    claim = store.claim_one(worker.pk, attempt.pk)
    if claim is not None:
        with LeaseKeeper(store, worker.pk):
            execution = Runner(store, worker.pk).perform(claim)
        acknowledge(store, worker.pk, [execution])
    # Not where an error passes: what is still held then is taken back when the lease runs out.
    store.deregister(worker.pk)
    if claim is None:
        attempt.refresh_from_db()
        raise InvalidTransition(
            f"{attempt}: perform is not possible: it is {attempt.state}, due "
            f"{attempt.scheduled_at:%Y-%m-%d %H:%M:%S %Z}."
        )
