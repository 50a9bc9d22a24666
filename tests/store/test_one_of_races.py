"""`one_of`: callers of one key meet each other, and meet workers."""

from __future__ import annotations

import time
from functools import partial

import pytest
from django.db import OperationalError, transaction

from async_attempts.lifecycle import Succeeded
from async_attempts.store.expressions import seconds_from_now

from .rows import enqueued, put, registered, row
from .sessions import PATIENCE, at_once, wait_until_somebody_waits
from .test_one_of import WAYS, arguments, begun, every_way, finish, one_of
from .test_tokens import REPEATABLE_READ

row_locks = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite has one writer and no row locks"
)
serving = pytest.mark.parametrize("when_taken", ["keep", "skip", "again"])


@every_way
def test_a_caller_waits_for_the_one_that_writes_the_first_attempt(store, sessions, when_taken):
    one, other = sessions(), sessions()
    one.begin()
    first = one.do(one_of, store, 1, when_taken)
    calling = other.start(one_of, store, 2, when_taken)
    wait_until_somebody_waits(store)
    assert not calling.done()
    one.commit()
    second = calling.result(PATIENCE)
    assert (second.pk, second.created) == (first.pk, False)
    assert arguments(store) == ([2] if when_taken == "replace" else [1])


@every_way
def test_a_caller_whose_forerunner_rolls_back_is_the_first(store, sessions, when_taken):
    one, other = sessions(), sessions()
    one.begin()
    one.do(one_of, store, 1, when_taken)
    calling = other.start(one_of, store, 2, when_taken)
    wait_until_somebody_waits(store)
    one.rollback()
    assert calling.result(PATIENCE).created
    assert arguments(store) == [2]


@every_way
def test_of_many_whose_forerunner_rolls_back_one_is_the_first(store, sessions, when_taken):
    first, *others = [sessions() for _ in range(6)]
    first.begin()
    first.do(one_of, store, 0, when_taken)

    def work(number):
        with transaction.atomic(store.database.alias):
            return one_of(store, number, when_taken)

    calling = [other.start(work, number) for number, other in enumerate(others, 1)]
    wait_until_somebody_waits(store, len(others))
    first.rollback()
    found = [one.result(PATIENCE) for one in calling]
    assert [one.created for one in found].count(True) == 1
    assert len({one.pk for one in found}) == store.database.attempts.count() == 1


@row_locks
@serving
def test_callers_that_are_served_do_not_wait_for_each_other(store, sessions, when_taken):
    first = one_of(store, 1, when_taken)
    one, other = sessions(), sessions()
    one.begin()
    other.begin()
    other.be_impatient()
    assert one.do(one_of, store, 2, when_taken).pk == first.pk
    assert other.do(one_of, store, 3, when_taken).pk == first.pk
    one.commit()
    other.commit()


@row_locks
@every_way
def test_a_claim_passes_over_what_serves_an_open_call(store, worker, sessions, when_taken):
    first = one_of(store, 1, when_taken)
    caller, other = sessions(), sessions()
    caller.begin()
    assert caller.do(one_of, store, 2, when_taken).pk == first.pk
    [due] = enqueued(store)
    other.be_impatient()
    assert [c.id for c in other.do(store.claims.claim, worker.pk, ["default"], 10)] == [due.pk]
    caller.commit()
    assert [c.id for c in store.claims.claim(worker.pk, ["default"], 10)] == [first.pk]


@row_locks
@every_way
def test_an_open_call_holds_up_neither_the_one_that_runs_nor_a_claim(
    store, worker, sessions, when_taken
):
    claim = begun(store, worker, one_of(store, 1, when_taken))
    caller, other = sessions(), sessions()
    caller.begin()
    second = caller.do(one_of, store, 2, when_taken)
    assert second.created == (when_taken != "skip")
    [due] = enqueued(store)
    other.be_impatient()
    assert other.do(store.outcomes.finish, worker.pk, [(claim, Succeeded())]) == []
    assert [c.id for c in other.do(store.claims.claim, worker.pk, ["default"], 10)] == [due.pk]
    caller.commit()
    if when_taken != "skip":
        assert row(store, second).status == "pending"


@row_locks
@every_way
def test_no_call_waits_for_an_attempt_that_runs_atomically(store, worker, sessions, when_taken):
    claim = begun(store, worker, one_of(store, 1, when_taken))
    performing, caller = sessions(), sessions()
    performing.begin()
    assert performing.do(store.outcomes.hold, worker.pk, claim)
    caller.be_impatient()
    assert caller.do(one_of, store, 2, when_taken).created == (when_taken != "skip")


@row_locks
@every_way
def test_a_call_that_meets_a_claim_looks_again(store, worker, sessions, when_taken):
    first = one_of(store, 1, when_taken)
    claimer, caller = sessions(), sessions()
    if store.database.connection.vendor == "postgresql":
        # Its claim is one statement: another transaction stands for it.
        claimer.begin()
        running = {"claimed_by": worker.pk, "started_at": seconds_from_now(0), "num_attempts": 1}
        claimer.do(partial(put, store, first, **running))
        calling = caller.start(one_of, store, 2, when_taken)
        wait_until_somebody_waits(store)
        claimer.commit()
    else:
        claims = claimer.start_and_stop_after(
            ("SKIP LOCKED",), store.claims.claim, worker.pk, ["default"], 10
        )
        calling = caller.start(one_of, store, 2, when_taken)
        wait_until_somebody_waits(store)
        claimer.go_on()
        assert [claim.id for claim in claims.result(PATIENCE)] == [first.pk]
    second = calling.result(PATIENCE)
    assert second.created == (when_taken != "skip")
    assert (second.pk == first.pk) == (when_taken == "skip")
    assert second.state == {"skip": "running", "again": "waiting"}.get(when_taken, "pending")


@every_way
def test_fifty_at_once_leave_one(store, when_taken):
    committed: list[int] = []

    def work(number):
        with transaction.atomic(store.database.alias):
            found = one_of(store, number, when_taken)
            committed.append(number)
        return found.pk, found.created

    found = at_once(50, work)
    assert len({pk for pk, _ in found}) == 1
    assert [created for _, created in found].count(True) == 1
    if when_taken == "replace":
        # The row is locked: who notes itself here last is the last to commit.
        assert arguments(store) == [committed[-1]]


@every_way
def test_fifty_at_once_in_autocommit(store, when_taken):
    found = at_once(50, lambda number: one_of(store, number, when_taken).pk)
    assert len(set(found)) == store.database.attempts.count() == 1


@every_way
def test_fifty_at_once_beside_one_that_runs(store, worker, when_taken):
    claim = begun(store, worker, one_of(store, 0, when_taken))
    found = at_once(50, lambda number: one_of(store, number, when_taken))
    assert len({one.pk for one in found}) == 1
    assert [one.created for one in found].count(True) == (when_taken != "skip")
    assert store.database.attempts.count() == (1 if when_taken == "skip" else 2)
    finish(store, worker, claim)
    assert {row(store, one).status for one in found} <= {"pending", "succeeded"}


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no snapshots")
@pytest.mark.parametrize("has_begun", [True, False])
@every_way
def test_a_caller_with_an_older_snapshot_finds_the_last_one_or_may_do_it_again(
    store, worker, sessions, when_taken, has_begun
):
    first = one_of(store, 1, when_taken)
    caller = sessions()
    caller.execute(REPEATABLE_READ[store.database.connection.vendor])
    caller.begin()
    assert caller.do(store.database.attempts.count) == 1
    claim = begun(store, worker, first)
    finish(store, worker, claim)
    last = None if has_begun else one_of(store, 2, when_taken)
    try:
        found = caller.do(one_of, store, 3, when_taken)
    except OperationalError:
        assert store.database.connection.vendor == "postgresql"
        caller.rollback()
        found = caller.do(one_of, store, 3, when_taken)
    else:
        caller.commit()
    assert found.created if last is None else found.pk == last.pk


@pytest.mark.parametrize("when_taken", [way for way in WAYS if way != "skip"])
def test_every_call_is_followed_by_an_execution_that_sees_what_it_wrote(store, when_taken):
    """No call that was committed is lost: an execution that begins later stands for it."""
    committed: dict[int, float] = {}
    begun_at: dict[object, float] = {}
    served: dict[int, object] = {}
    worker = registered(store)

    def perform():
        for claim in store.claims.claim(worker.pk, ["default"], 10):
            begun_at[claim.id] = time.monotonic()
            # On PostgreSQL a call that found it taken locks it until its transaction ends.
            while store.outcomes.finish(worker.pk, [(claim, Succeeded())]).locked:
                time.sleep(0.01)

    def work(number):
        if number == 0:
            deadline = time.monotonic() + PATIENCE
            while len(committed) < 60 and time.monotonic() < deadline:
                perform()
            return
        for turn in range(10):
            with transaction.atomic(store.database.alias):
                found = one_of(store, number * 100 + turn, when_taken)
                served[number * 100 + turn] = found.pk
                before = time.monotonic()
            committed[number * 100 + turn] = before

    at_once(7, work)
    deadline = time.monotonic() + PATIENCE
    while store.database.attempts.exclude(status="succeeded").exists():
        assert time.monotonic() < deadline
        # As a worker does: what was locked when its prerequisite ended is come back to.
        store.revisit()
        store.dependencies.sweep()
        perform()
    assert len(committed) == 60
    # `begun_at` is noted after the claim, and `before` before the commit: none is too early.
    assert all(begun_at[served[call]] > moment for call, moment in committed.items())
