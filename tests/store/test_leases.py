"""Leases: who is alive, by the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from async_attempts.models import Worker
from async_attempts.store.expressions import seconds_from_now
from tests.store.sessions import lock_as_a_claim

from .rows import LEASE, let_lease_run_out, now, registered


def test_a_new_worker_is_live_for_one_lease_from_the_databases_now(store):
    worker = registered(store)
    written = store.database.workers.get(pk=worker.pk)
    assert written.state == Worker.State.LIVE
    assert timedelta(0) <= now(store) + timedelta(seconds=LEASE) - written.lease < timedelta(5)
    assert not store.workers.has_dead()


@pytest.mark.usefixtures("an_hour_ahead")
def test_a_workers_own_clock_decides_nothing(store):
    worker = registered(store)
    assert store.database.workers.get(pk=worker.pk).lease > datetime.now(UTC) + timedelta(
        minutes=55
    )
    assert store.workers.rescue() == []
    store.database.workers.update(lease=datetime.now(UTC) + timedelta(minutes=30))
    assert store.workers.has_dead()
    assert store.workers.renew(worker.pk, LEASE)
    assert not store.workers.has_dead()


def test_a_renewal_lets_the_lease_hold_from_now_on(store, worker):
    store.workers.renew(worker.pk, 1000)
    left = store.database.workers.get(pk=worker.pk).lease - now(store)
    assert timedelta(seconds=900) < left <= timedelta(seconds=1000)


def test_a_late_renewal_is_as_good_as_any_while_nobody_has_rescued(store, worker, claimed):
    [claim] = claimed()
    let_lease_run_out(store, worker)
    assert store.workers.has_dead()
    assert store.workers.renew(worker.pk, LEASE)
    assert store.workers.rescue() == []
    with transaction.atomic(store.database.alias):
        assert store.outcomes.hold(worker.pk, claim)


@pytest.mark.parametrize("state", ["stopped", "dead", "rescued"])
def test_a_worker_that_is_not_live_renews_nothing(store, worker, state):
    store.database.workers.update(state=state)
    before = store.database.workers.get(pk=worker.pk).lease
    assert not store.workers.renew(worker.pk, 1000)
    assert store.database.workers.get(pk=worker.pk).lease == before


def test_a_renewal_is_of_one_worker_only(store, worker):
    other = registered(store)
    before = store.database.workers.get(pk=other.pk).lease
    store.workers.renew(worker.pk, 1000)
    assert store.database.workers.get(pk=other.pk).lease == before


def test_all_of_a_supervisors_leases_are_renewed_at_once_but_for_the_lost(store, worker):
    sibling, lost, stranger = (registered(store) for _ in range(3))
    store.database.workers.filter(pk=lost.pk).update(state="rescued")
    before = {one.pk: store.database.workers.get(pk=one.pk).lease for one in (lost, stranger)}
    mine = [worker.pk, sibling.pk]
    assert store.workers.renew_unlocked([*mine, lost.pk], 1000) == sorted(mine)
    assert store.workers.renew_unlocked([lost.pk], 1000) == []
    for pk in mine:
        assert store.database.workers.get(pk=pk).lease - now(store) > timedelta(seconds=900)
    assert {pk: store.database.workers.get(pk=pk).lease for pk in before} == before


@pytest.mark.only("postgresql", "mariadb", reason="SQLite locks the database as a whole")
def test_a_worker_whose_row_is_locked_does_not_keep_back_the_others(store, worker, sessions):
    locked = registered(store)
    other, supervisor = sessions(), sessions()
    other.begin()
    other.do(lock_as_a_claim, store, locked.pk)
    supervisor.be_impatient()
    renewed = supervisor.do(store.workers.renew_unlocked, [locked.pk, worker.pk], 1000)
    assert renewed == [worker.pk]
    assert store.database.workers.get(pk=locked.pk).lease - now(store) < timedelta(seconds=900)


def test_a_worker_that_ends_is_stopped_and_nobody_rescues_it(store, worker):
    store.workers.deregister(worker.pk)
    let_lease_run_out(store, worker)
    assert store.database.workers.get(pk=worker.pk).state == Worker.State.STOPPED
    assert not store.workers.has_dead()
    assert store.workers.rescue() == []


def test_a_rescued_worker_that_ends_stays_rescued(store, worker):
    let_lease_run_out(store, worker)
    store.workers.rescue()
    store.workers.deregister(worker.pk)
    assert store.database.workers.get(pk=worker.pk).state == Worker.State.RESCUED


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("renew", lambda worker: (worker.pk, LEASE)),
        ("deregister", lambda worker: (worker.pk,)),
        ("register", lambda worker: (worker, LEASE)),
        ("rescue", lambda _: ()),
    ],
)
def test_a_lease_is_not_part_of_a_callers_transaction(store, worker, verb, arguments):
    with transaction.atomic(store.database.alias), pytest.raises(RuntimeError):
        getattr(store.workers, verb)(*arguments(worker))


def test_workers_that_ended_long_ago_are_forgotten_while_another_is_frozen_in_a_claim(
    store, worker, sessions
):
    ended = registered(store)
    store.database.workers.filter(pk=ended.pk).update(state="stopped", lease=seconds_from_now(-100))
    frozen = sessions()
    if store.database.connection.vendor != "sqlite":
        frozen.begin()
    assert frozen.do(lock_as_a_claim, store, worker.pk)
    assert (store.workers.forget(200), store.workers.forget(50)) == (0, 1)
    assert [one.pk for one in store.database.workers] == [worker.pk]
