"""Many claimers, enqueuers and people at once, each with a real connection of its own."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from uuid import UUID

import pytest
from django.db import OperationalError

from async_attempts import call
from async_attempts.lifecycle import Failed, Snoozed, Succeeded
from async_attempts.retention import Keep, Retention
from tests.shop import clients
from tests.store.sessions import lock_as_a_claim

from .rows import (
    ERROR,
    enqueued,
    finish_all,
    let_lease_run_out,
    multiply,
    put,
    registered,
    row,
)
from .sessions import PATIENCE, at_once, wait_until_somebody_waits

ONE_WRITER = "SQLite has one writer and no row locks"
row_locks = pytest.mark.only("postgresql", "mariadb", reason=ONE_WRITER)


def locked_as_by_a_claim(store, number):
    due = store.database.attempts.filter(
        queue="default", status="pending", claimed_by=None, num_crashes=0
    )
    best = due.order_by("-priority", "scheduled_at", "id").select_for_update(skip_locked=True)
    return list(best.values_list("pk", flat=True)[:number])


def with_descending_ids(store, number):
    """Attempts that lie in the table and in its indexes in the opposite order of their ids."""
    best_first = range(number, 0, -1)
    calls = [
        call(clients.greet, n).using(database=store.database.alias, priority=n) for n in best_first
    ]
    attempts = [one.attempt() for one in calls]
    ids = sorted((attempt.pk for attempt in attempts), reverse=True)
    for attempt, pk in zip(attempts, ids, strict=True):
        attempt.pk = pk
    store.attempts.insert_many(attempts)
    return attempts[::-1]


def test_eight_claimers_claim_each_of_ten_thousand_once(store):
    [attempt] = enqueued(store)
    multiply(store, attempt, 9_999)

    def drain(_):
        worker = registered(store)
        mine = []
        while claims := store.claims.claim(worker.pk, ["default"], 100):
            mine += [claim.id for claim in claims]
            finish_all(store, worker, [(claim, Succeeded()) for claim in claims])
        return mine

    claimed = [attempt_id for mine in at_once(8, drain) for attempt_id in mine]
    assert len(claimed) == len(set(claimed)) == 10_000
    once = {"status": "succeeded", "num_attempts": 1, "claim_seq": 1}
    assert store.database.attempts.filter(**once).count() == 10_000


def test_claimers_of_an_empty_queue_and_enqueuers_do_not_hinder_each_other(store):
    promised: list[UUID] = []
    claimed: list[UUID] = []
    deadline = time.monotonic() + PATIENCE

    def work(number):
        if number < 3:
            for _ in range(40):
                promised.extend(attempt.pk for attempt in enqueued(store, 2))
            return
        worker = registered(store)
        while len(claimed) < 240 and time.monotonic() < deadline:
            claimed.extend(claim.id for claim in store.claims.claim(worker.pk, ["default"], 5))

    at_once(6, work)
    assert sorted(claimed) == sorted(promised)


@row_locks
def test_claims_do_not_wait_for_each_other(store, worker, sessions):
    attempts = enqueued(store, 10)
    other, claimer = sessions(), sessions()
    theirs = other.start_and_stop_after(
        ("SKIP LOCKED",), store.claims.claim, worker.pk, ["default"], 5
    )
    claimer.be_impatient()
    claims = claimer.do(store.claims.claim, worker.pk, ["default"], 100)
    other.go_on()
    assert len(claims) == 5
    both = [*claims, *theirs.result(PATIENCE)]
    assert {claim.id for claim in both} == {attempt.pk for attempt in attempts}


@row_locks
def test_a_claim_locks_no_more_than_it_takes(store, worker, sessions):
    [attempt] = enqueued(store)
    multiply(store, attempt, 999)
    other, claimer = sessions(), sessions()
    theirs = other.start_and_stop_after(
        ("SKIP LOCKED",), store.claims.claim, worker.pk, ["default"], 500
    )
    claimer.be_impatient()
    claims = claimer.do(store.claims.claim, worker.pk, ["default"], 500)
    other.go_on()
    assert len({claim.id for claim in [*claims, *theirs.result(PATIENCE)]}) == 1000


@row_locks
def test_claims_of_one_worker_do_not_wait_for_each_other(store, worker, sessions):
    enqueued(store, 3)
    other, claimer = sessions(), sessions()
    other.begin()
    assert other.do(lock_as_a_claim, store, worker.pk)
    claimer.be_impatient()
    assert len(claimer.do(store.claims.claim, worker.pk, ["default"], 100)) == 3


@row_locks
def test_a_claim_of_an_empty_queue_blocks_no_enqueue(store, worker, sessions):
    claimer, caller = sessions(), sessions()
    claims = claimer.start_and_stop_after(
        ("SKIP LOCKED",), store.claims.claim, worker.pk, ["default", "emails"], 10
    )
    caller.be_impatient()
    caller.begin()
    for options in ({}, {"queue": "emails"}, {"idempotence_token": "t"}):
        caller.do(partial(enqueued, store, 2, **options))
    claimer.go_on()
    assert claims.result(PATIENCE) == []
    caller.commit()
    assert len(store.claims.claim(worker.pk, ["default", "emails"], 10)) == 5


@row_locks
def test_an_open_enqueue_holds_up_no_worker(store, worker, claimed, sessions):
    mine = claimed(3)
    caller, other = sessions(), sessions()
    caller.begin()
    promised = {attempt.pk for attempt in caller.do(enqueued, store, 3)}
    [due] = enqueued(store)
    other.be_impatient()
    claims = other.do(store.claims.claim, worker.pk, ["default", "emails"], 10)
    assert [claim.id for claim in claims] == [due.pk]
    results = [(claim, Succeeded()) for claim in [*mine, *claims]]
    assert other.do(store.outcomes.finish, worker.pk, results) == []
    assert other.do(store.claims.promote) == 0
    assert other.do(store.workers.rescue) == []
    assert other.do(store.retention.prune, Retention({"succeeded": Keep(1000.0)})) == (0, None)
    caller.commit()
    assert {claim.id for claim in store.claims.claim(worker.pk, ["default"], 10)} == promised


@pytest.mark.parametrize("verb", ["claim", "promote"])
def test_who_finds_nothing_to_do_waits_for_nobody(store, worker, sessions, verb):
    enqueued(store, scheduled_at=timedelta(hours=1))
    caller, other = sessions(), sessions()
    caller.begin()
    caller.do(enqueued, store)
    other.be_impatient()
    arguments = (worker.pk, ["default", "emails"], 10) if verb == "claim" else ()
    assert not other.do(getattr(store.claims, verb), *arguments)


@row_locks
def test_an_enqueue_waits_for_no_worker(store, worker, claimed, sessions):
    [claim] = claimed()
    performing, caller = sessions(), sessions()
    performing.begin()
    assert performing.do(store.outcomes.hold, worker.pk, claim)
    performing.do(locked_as_by_a_claim, store, 10)
    caller.be_impatient()
    caller.begin()
    assert len(caller.do(enqueued, store, 3)) == 3


@row_locks
@pytest.mark.parametrize("number", [1, 8, 40])
def test_no_worker_waits_for_an_attempt_that_runs_atomically(store, worker, sessions, number):
    [running] = enqueued(store)
    held = store.claims.claim_one(worker.pk, running.pk)
    performing, other = sessions(), sessions()
    performing.begin()
    assert performing.do(store.outcomes.hold, worker.pk, held)
    other.be_impatient()
    heir = other.do(registered, store)
    enqueued(store, number * 4)
    for outcome in (Succeeded(), Succeeded(b"r"), Failed("no use", ERROR), Snoozed(0)):
        claims = other.do(store.claims.claim, heir.pk, ["default"], number)
        assert len(claims) == number
        assert (
            other.do(store.outcomes.finish, heir.pk, [(claim, outcome) for claim in claims]) == []
        )
    assert other.do(store.claims.promote) == number
    let_lease_run_out(store, worker)
    assert other.do(store.workers.rescue) == []
    assert other.do(store.retention.prune, Retention({"succeeded": Keep(0.0)})) == (
        number * 2,
        None,
    )


@row_locks
def test_a_transaction_that_a_deadlock_has_ended_is_done_again(store, claimed, sessions):
    first, second, *others = claimed(30)
    other, worker = sessions(), sessions()
    if store.database.connection.vendor == "postgresql":
        # Else this session may be the one to notice, and to be ended.
        other.execute("SET deadlock_timeout = '1min'")
    other.begin()
    for claim in [second, *others]:
        # MariaDB ends the one that has changed fewer rows.
        other.do(partial(put, store, claim, progress=1))

    def change_both() -> None:
        for claim in (first, second):
            put(store, claim, progress=2)

    changing = worker.start(store.database.in_transaction, change_both)
    wait_until_somebody_waits(store)
    other.do(partial(put, store, first, progress=1))
    other.commit()
    changing.result(PATIENCE)
    assert [row(store, claim).progress for claim in (first, second)] == [2, 2]


def test_what_is_broken_is_not_tried_again(store, worker, claimed, monkeypatch):
    [claim] = claimed()
    tried = []

    def broken(*arguments):
        tried.append(arguments)
        raise OperationalError("out of paper")

    monkeypatch.setattr(store.outcomes, "finish_within", broken)
    with pytest.raises(OperationalError, match="out of paper"):
        store.outcomes.finish(worker.pk, [(claim, Snoozed(60))])
    assert len(tried) == 1
