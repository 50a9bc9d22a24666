"""Claims of a worker that is no more are taken back."""

from __future__ import annotations

from uuid import uuid4

import pytest

from async_attempts.lifecycle import Released, Snoozed
from async_attempts.models import Worker
from async_attempts.models.bounds import MOST_CRASHES

from .rows import every_column, failures, registered, row
from .test_progress import ROW_LOCKS, lock_row


def test_what_a_worker_held_that_said_goodbye_is_given_back(store, worker, claimed):
    claims = claimed(2)
    store.workers.deregister(worker.pk)
    [rescue] = store.workers.rescue_orphans()
    assert (rescue.worker_id, rescue.attempt_ids, rescue.num_released) == (worker.pk, [], 2)
    for claim in claims:
        written = row(store, claim)
        assert (written.state, written.claimed_by, written.started_at) == ("pending", None, None)
        assert (written.num_attempts, written.num_crashes, written.claim_seq) == (0, 0, 1)
    assert failures(store) == []
    assert store.workers.rescue_orphans() == []


@pytest.mark.parametrize("outcome", [Released(), Released(5.0), Snoozed(1.0), None], ids=repr)
@pytest.mark.parametrize("number", [0, 5])
def test_a_count_that_somebody_has_set_meanwhile_never_falls_below_nothing(
    store, worker, claimed, outcome, number
):
    [claim] = claimed()
    store.database.attempts.filter(pk=claim.id).update(num_attempts=number)
    if outcome is None:
        store.workers.deregister(worker.pk)
        store.workers.rescue_orphans()
    else:
        store.outcomes.finish(worker.pk, [(claim, outcome)])
    written = row(store, claim)
    assert (written.claimed_by, written.num_attempts) == (None, max(number - 1, 0))


@pytest.mark.parametrize("state", ["rescued", "gone"])
def test_what_nobody_knows_to_have_begun_counts_a_crash(store, worker, claimed, state):
    [claim] = claimed()
    mine = store.database.workers.filter(pk=worker.pk)
    if state == "gone":
        mine.delete()
    else:
        mine.update(state=Worker.State.RESCUED)
    [rescue] = store.workers.rescue_orphans()
    assert (rescue.worker_id, rescue.attempt_ids) == (worker.pk, [claim.id])
    written = row(store, claim)
    assert (written.state, written.num_attempts, written.num_crashes) == ("pending", 1, 1)
    [failure] = failures(store)
    assert (failure.kind, failure.error_class) == ("lease", "WorkerLost")


def test_as_many_crashes_as_can_be_counted_hold_nobody_up(store, claimed):
    claims = claimed(2)
    store.database.attempts.filter(pk=claims[0].id).update(num_crashes=MOST_CRASHES)
    store.database.workers.all().delete()
    [rescue] = store.workers.rescue_orphans()
    assert set(rescue.attempt_ids) == {claim.id for claim in claims}
    assert row(store, claims[0]).status == "failed"
    assert (row(store, claims[1]).state, row(store, claims[1]).num_crashes) == ("pending", 1)


@pytest.mark.parametrize("state", [Worker.State.LIVE, Worker.State.DEAD])
def test_what_a_worker_holds_that_is_there_stays(store, worker, claimed, state):
    claimed()
    store.database.workers.filter(pk=worker.pk).update(state=state)
    before = every_column(store)
    assert store.workers.rescue_orphans() == []
    assert every_column(store) == before


@ROW_LOCKS
def test_what_somebody_locks_is_taken_back_later(store, worker, claimed, sessions):
    [claim] = claimed()
    store.workers.deregister(worker.pk)
    somebody = sessions()
    somebody.begin()
    somebody.do(lock_row, store, claim)
    [rescue] = store.workers.rescue_orphans()
    assert (rescue.num_released, rescue.is_complete) == (0, False)
    somebody.rollback()
    [rescue] = store.workers.rescue_orphans()
    assert (rescue.num_released, rescue.is_complete) == (1, True)


def test_a_lease_is_late_when_it_was_not_renewed_in_time(store, worker):
    lease = 30.0
    assert store.workers.late_leases(lease) == {}
    store.workers.renew(worker.pk, lease * 0.65)
    assert store.workers.late_leases(lease) == {}
    store.workers.renew(worker.pk, lease * 0.5)
    assert list(store.workers.late_leases(lease)) == [worker.pk]
    store.workers.deregister(worker.pk)
    assert store.workers.late_leases(lease) == {}


def test_only_a_lease_that_is_still_the_same_is_taken_for_a_dead_workers(store, worker, claimed):
    claimed()
    heir = registered(store)
    store.workers.renew(worker.pk, -1)
    late = store.workers.late_leases(30.0)
    store.workers.renew(worker.pk, -0.5)
    assert store.workers.rescue(late) == []
    assert store.workers.rescue({heir.pk: heir.lease, uuid4(): heir.lease}) == []
    assert store.workers.rescue({}) == []
    [rescue] = store.workers.rescue(store.workers.late_leases(30.0))
    assert rescue.worker_id == worker.pk
