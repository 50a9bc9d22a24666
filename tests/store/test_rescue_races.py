"""A worker that is taken for dead while it claims, renews or finishes."""

from __future__ import annotations

from functools import partial
from itertools import chain

import pytest

from async_attempts.lifecycle import Succeeded
from async_attempts.models import Worker
from tests.store.sessions import lock_as_a_claim

from .rows import LEASE, enqueued, failures, let_lease_run_out, registered, row
from .sessions import PATIENCE, at_once, wait_until_somebody_waits

MARKS_DEAD = ("UPDATE", "async_attempts_worker")
row_locks = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite has one writer and no row locks"
)


def test_a_claim_that_arrives_during_the_rescue_gets_nothing(store, worker, sessions):
    [attempt] = enqueued(store)
    let_lease_run_out(store, worker)
    rescuer, claimer = sessions(), sessions()
    rescuing = rescuer.start_and_stop_after(MARKS_DEAD, store.workers.rescue)
    claiming = claimer.start(store.claims.claim, worker.pk, ["default"], 1)
    wait_until_somebody_waits(store)
    rescuer.go_on()
    assert (rescuing.result(PATIENCE), claiming.result(PATIENCE)) == ([], [])
    assert row(store, attempt).state == "pending"


def test_a_renewal_that_arrives_during_the_rescue_fails(store, worker, sessions):
    let_lease_run_out(store, worker)
    rescuer, keeper = sessions(), sessions()
    rescuing = rescuer.start_and_stop_after(MARKS_DEAD, store.workers.rescue)
    renewing = keeper.start(store.workers.renew, worker.pk, LEASE)
    wait_until_somebody_waits(store)
    rescuer.go_on()
    rescuing.result(PATIENCE)
    assert renewing.result(PATIENCE) is False


@row_locks
def test_a_worker_in_the_middle_of_a_claim_is_not_rescued(store, worker, sessions):
    let_lease_run_out(store, worker)
    claimer = sessions()
    claimer.begin()
    assert claimer.do(lock_as_a_claim, store, worker.pk)
    assert store.workers.rescue() == []
    assert store.database.workers.get(pk=worker.pk).state == Worker.State.LIVE
    claimer.commit()
    store.workers.rescue()
    assert store.database.workers.get(pk=worker.pk).state == Worker.State.RESCUED


@row_locks
def test_a_renewal_that_was_first_saves_the_worker(store, worker, claimed, sessions):
    [claim] = claimed()
    let_lease_run_out(store, worker)
    keeper = sessions()
    keeper.begin()
    keeper.do(lambda: store.database.workers.filter(pk=worker.pk).update(lease="2100-01-01T00:00Z"))
    assert store.workers.rescue() == []
    keeper.commit()
    assert store.workers.rescue() == []
    assert row(store, claim).state == "running"


def test_two_rescuers_count_one_crash(store, worker, claimed):
    claims = claimed(5)
    let_lease_run_out(store, worker)
    rescues = at_once(4, lambda _: store.workers.rescue())
    taken = [rescue.attempt_ids for found in rescues for rescue in found]
    assert sorted(chain(*taken)) == sorted(claim.id for claim in claims)
    assert {row(store, claim).num_crashes for claim in claims} == {1}
    assert len(failures(store)) == 5


def test_nothing_is_ever_left_in_the_hand_of_a_rescued_worker(store):
    enqueued(store, 40)
    for _ in range(10):
        worker = registered(store)
        store.claims.claim(worker.pk, ["default"], 1)
        let_lease_run_out(store, worker)

        def race(number, worker=worker):
            if number == 0:
                return store.workers.rescue()
            return store.claims.claim(worker.pk, ["default"], 1)

        at_once(3, race)
        store.workers.rescue()
        assert store.database.workers.get(pk=worker.pk).state == Worker.State.RESCUED
        assert not store.database.attempts.filter(claimed_by=worker.pk).exists()


def test_what_is_finished_while_it_is_rescued_is_one_or_the_other(store):
    for _ in range(10):
        worker = registered(store)
        attempts = enqueued(store, 4)
        claims = store.claims.claim(worker.pk, ["default"], 4)
        let_lease_run_out(store, worker)
        finish = partial(
            store.outcomes.finish, worker.pk, [(claim, Succeeded()) for claim in claims]
        )

        def race(number, finish=finish):
            return finish() if number else store.workers.rescue()

        rescues, lost = at_once(2, race)
        taken = {attempt_id for rescue in rescues for attempt_id in rescue.attempt_ids}
        assert {claim.id for claim in lost} == taken
        for attempt in attempts:
            assert row(store, attempt).state == ("pending" if attempt.pk in taken else "succeeded")
        store.database.attempts.filter(status="pending").delete()
