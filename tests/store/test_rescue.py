"""Rescue: what a dead worker held is taken back, with the crash counted."""

from __future__ import annotations

import pytest

from async_attempts.conf import settings as attempts_settings
from async_attempts.lifecycle import FailureKind, Released, Succeeded
from async_attempts.models import Worker
from async_attempts.store import workers

from .rows import enqueued, every_column, failures, let_lease_run_out, now, put, registered, row


def state_of(store, worker):
    return store.database.workers.get(pk=worker.pk).state


def test_what_a_worker_held_is_pending_again_and_suspect(store, worker, claimed):
    claims = claimed(2)
    let_lease_run_out(store, worker)
    [rescue] = store.workers.rescue()
    assert (rescue.worker_id, rescue.attempt_ids) == (worker.pk, [claim.id for claim in claims])
    assert rescue.failed_ids == []
    for claim in claims:
        written = row(store, claim)
        assert (written.state, written.claimed_by, written.num_crashes) == ("pending", None, 1)
        assert (written.num_attempts, written.claim_seq) == (1, 1)
        assert written.error_class == "WorkerLost"
    assert state_of(store, worker) == Worker.State.RESCUED


def test_what_was_lost_leaves_a_failure_that_says_so(store, worker, claimed):
    [claim] = claimed()
    put(store, claim, num_attempts=3)
    let_lease_run_out(store, worker)
    before = now(store)
    store.workers.rescue()
    [failure] = failures(store)
    assert (failure.attempt_id, failure.number, failure.worker) == (claim.id, 3, worker.pk)
    assert (failure.kind, failure.error_class) == (FailureKind.LEASE, "WorkerLost")
    assert failure.started_at == claim.started_at
    assert before <= failure.failed_at <= now(store)
    assert "its lease ran out" in failure.message


def test_a_worker_whose_lease_holds_keeps_what_it_has(store, worker, claimed):
    claimed()
    before = every_column(store)
    assert store.workers.rescue() == []
    assert (every_column(store), state_of(store, worker)) == (before, Worker.State.LIVE)


def test_only_what_the_dead_worker_held_is_taken(store, worker, claimed):
    [others] = enqueued(store)
    heir = registered(store)
    store.claims.claim(heir.pk, ["default"], 1)
    [mine] = claimed()
    let_lease_run_out(store, worker)
    [rescue] = store.workers.rescue()
    assert rescue.attempt_ids == [mine.id]
    assert row(store, others).claimed_by == heir.pk


def test_all_dead_workers_are_rescued_in_one_sweep(store, worker):
    workers = [worker, registered(store)]
    attempts = enqueued(store, 2)
    for one in workers:
        store.claims.claim(one.pk, ["default"], 1)
        let_lease_run_out(store, one)
    rescues = store.workers.rescue()
    assert {rescue.worker_id for rescue in rescues} == {one.pk for one in workers}
    assert {i for rescue in rescues for i in rescue.attempt_ids} == {a.pk for a in attempts}


def test_a_worker_that_is_marked_dead_is_rescued_before_its_lease_runs_out(store, worker, claimed):
    [claim] = claimed()
    store.database.workers.update(state=Worker.State.DEAD)
    assert store.workers.has_dead()
    [rescue] = store.workers.rescue()
    assert rescue.attempt_ids == [claim.id]
    assert state_of(store, worker) == Worker.State.RESCUED
    assert not store.workers.has_dead()


def test_a_dead_worker_with_empty_hands_is_rescued_without_a_word(store, worker):
    let_lease_run_out(store, worker)
    assert store.workers.rescue() == []
    assert state_of(store, worker) == Worker.State.RESCUED


def test_what_is_rescued_is_rescued_once(store, worker, claimed):
    [claim] = claimed()
    let_lease_run_out(store, worker)
    store.workers.rescue()
    before = every_column(store)
    assert store.workers.rescue() == []
    assert every_column(store) == before
    assert row(store, claim).num_crashes == 1


def test_what_was_lost_too_often_is_failed_for_good(store, worker, claimed):
    neighbour, poison = claimed(2)
    put(store, poison, num_crashes=attempts_settings().MAX_CRASHES - 1)
    let_lease_run_out(store, worker)
    [rescue] = store.workers.rescue()
    assert rescue.failed_ids == [poison.id]
    assert set(rescue.attempt_ids) == {neighbour.id, poison.id}
    written = row(store, poison)
    assert (written.status, written.num_crashes) == ("failed", attempts_settings().MAX_CRASHES)
    assert "lost 3 times" in written.reason
    assert written.completed_at is not None
    assert row(store, neighbour).state == "pending"
    assert len(failures(store)) == 2


def test_the_most_crashes_are_the_settings(store, worker, claimed, settings):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"MAX_CRASHES": 1}
    [claim] = claimed()
    let_lease_run_out(store, worker)
    store.workers.rescue()
    assert row(store, claim).status == "failed"


def test_what_was_to_be_cancelled_is_expired_instead_of_performed_again(store, worker, claimed):
    [claim] = claimed()
    put(store, claim, cancel_requested=True)
    let_lease_run_out(store, worker)
    store.workers.rescue()
    written = row(store, claim)
    assert (written.state, written.reason) == ("expired", "cancelled while it ran")


def test_what_was_released_before_is_not_lost(store, worker, claimed):
    [claim] = claimed()
    store.outcomes.finish(worker.pk, [(claim, Released())])
    let_lease_run_out(store, worker)
    assert store.workers.rescue() == []
    assert row(store, claim).num_crashes == 0


def test_a_rescue_is_whole_or_has_not_been(store, worker, claimed, monkeypatch):
    claimed(2)
    let_lease_run_out(store, worker)
    before = every_column(store)

    def crash(row, verdict):
        raise KeyError(row, verdict)

    with monkeypatch.context() as patch:
        patch.setattr(workers, "_after_crash", crash)
        with pytest.raises(KeyError):
            store.workers.rescue()
    assert (every_column(store), failures(store)) == (before, [])
    assert len(store.workers.rescue()) == 1


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_what_an_atomic_transaction_still_holds_is_left_for_the_next_sweep(
    store, worker, claimed, sessions
):
    held, free = claimed(2)
    other = sessions()
    other.begin()
    assert other.do(store.outcomes.hold, worker.pk, held)
    let_lease_run_out(store, worker)
    [rescue] = store.workers.rescue()
    assert rescue.attempt_ids == [free.id]
    assert (row(store, held).state, state_of(store, worker)) == ("running", Worker.State.DEAD)
    assert store.workers.rescue() == []
    other.rollback()
    [rescue] = store.workers.rescue()
    assert rescue.attempt_ids == [held.id]
    assert state_of(store, worker) == Worker.State.RESCUED


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_an_atomic_attempt_of_a_dead_worker_may_still_succeed(store, worker, claimed, sessions):
    [claim] = claimed()
    other = sessions()
    other.begin()
    assert other.do(store.outcomes.hold, worker.pk, claim)
    let_lease_run_out(store, worker)
    assert store.workers.rescue() == []
    assert other.do(store.outcomes.finish_within, worker.pk, [(claim, Succeeded())]) == []
    other.commit()
    assert store.workers.rescue() == []
    assert (row(store, claim).state, failures(store)) == ("succeeded", [])
    assert state_of(store, worker) == Worker.State.RESCUED
