"""Reports of concurrency limits that let too many through, or nobody any more."""

from __future__ import annotations

from async_attempts.lifecycle import Succeeded
from tests.store.rows import enqueued, let_lease_run_out, registered, row


def test_a_late_outcome_does_not_free_the_place_of_another(store, worker):
    """rails/solid_queue#761: who was taken for dead and went on let its lock go once more at its
    end, and a job limited to one ran eleven times at once.
    """
    enqueued(store, 3, limit_key="customer")
    taken_for_dead = registered(store)
    [first] = store.claims.claim(taken_for_dead.pk, ["default"], 10)
    let_lease_run_out(store, taken_for_dead)
    store.workers.rescue()
    [second] = store.claims.claim(worker.pk, ["default"], 10)
    assert store.outcomes.finish(taken_for_dead.pk, [(first, Succeeded())]) == [first]
    assert store.limits.unpark(["customer"]) == 0
    assert store.claims.claim(worker.pk, ["default"], 10) == []
    assert (row(store, second).claim_seq, row(store, second).state) == (second.claim_seq, "running")


def test_a_worker_that_begins_before_the_dead_is_rescued_keeps_the_limit(store, worker):
    """rails/solid_queue#735: after a worker was killed the limit doesn't hold for those that are
    started before the maintenance has been there.
    """
    enqueued(store, 3, limit_key="customer")
    killed = registered(store)
    assert len(store.claims.claim(killed.pk, ["default"], 10)) == 1
    let_lease_run_out(store, killed)
    assert store.claims.claim(worker.pk, ["default"], 10) == []
    store.workers.rescue()
    assert len(store.claims.claim(worker.pk, ["default"], 10)) == 1
