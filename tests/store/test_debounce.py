"""Debounce and throttle: one attempt of a key waits, with the arguments of the last call."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from django.db import OperationalError, transaction

from async_attempts import Attempt, call
from async_attempts.calls import enqueue_many
from async_attempts.exceptions import InvalidOption
from async_attempts.lifecycle import Released, Retried, Snoozed, Succeeded
from async_attempts.store.expressions import seconds_from_now
from tests.shop import clients

from .rows import ERROR, enqueued, let_lease_run_out, put, registered, row
from .sessions import PATIENCE, at_once, wait_until_somebody_waits
from .test_tokens import REPEATABLE_READ

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
NEAR = timedelta(seconds=30)

row_locks = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite has one writer and no row locks"
)


def debounced(store, number=0, delay=HOUR, **options):
    options |= {"database": store.database.alias, "debounce": delay}
    return call(clients.greet, number).using(**options).enqueue()


def throttled(store, number=0, period=HOUR, **options):
    options |= {"database": store.database.alias, "throttle": period}
    return call(clients.greet, number).using(**options).enqueue()


def make_due(store, attempt):
    put(store, attempt, scheduled_at=seconds_from_now(-1), status="pending")


def begun(store, worker, attempt):
    """Its claim."""
    make_due(store, attempt)
    claim = store.claims.claim_one(worker.pk, attempt.pk)
    assert claim is not None
    return claim


def begun_and_parked(store, worker, paced, **options):
    """One that runs, and one of the same key that was claimed and waits for a place."""
    [held] = enqueued(store, limit_key="k")
    assert store.claims.claim_one(worker.pk, held.pk)
    parked = paced(store, limit_key="k", **options)
    make_due(store, parked)
    assert store.claims.claim_one(worker.pk, parked.pk) is None
    assert row(store, parked).status == "waiting"
    return parked


def arguments(store):
    return sorted(attempt.method_args[0] for attempt in store.database.attempts)


both = pytest.mark.parametrize("paced", [debounced, throttled])


@both
def test_what_waits_for_a_place_is_yet_to_begin(store, worker, paced):
    parked = begun_and_parked(store, worker, paced)
    again = paced(store, 2, limit_key="k")
    assert (again.pk, again.created) == (parked.pk, False)
    assert row(store, parked).method_args[0] == 2
    assert row(store, parked).status == ("scheduled" if paced is debounced else "waiting")


@both
def test_a_later_call_replaces_the_arguments_of_the_one_that_waits(store, paced):
    first = paced(store, 1, priority=3, metadata={"n": 1})
    second = paced(store, 2, priority=4, metadata={"n": 2}, keep_result=True)
    assert (first.created, second.created, second.pk) == (True, False, first.pk)
    kept = row(store, first)
    assert (kept.method_args, kept.priority, kept.metadata) == ([2], 4, {"n": 2})
    assert kept.keep_result
    assert (second.method_args, second.created_at) == ([2], kept.created_at)
    assert store.database.attempts.count() == 1


def test_a_debounced_call_moves_the_time(store):
    first = debounced(store, 1, SECOND)
    assert first.status == "scheduled"
    assert first.scheduled_at - first.created_at == pytest.approx(SECOND, abs=SECOND)
    second = debounced(store, 2, HOUR)
    assert second.scheduled_at - second.created_at == pytest.approx(HOUR, abs=NEAR)
    third = debounced(store, 3, SECOND)
    assert third.scheduled_at - third.created_at < NEAR


def test_a_debounced_call_brings_its_own_limit(store):
    first = debounced(store, 1, limit_key="customer-1", concurrency=3)
    second = debounced(store, 2, limit_key="customer-2")
    assert second.pk == first.pk
    assert (row(store, first).limit_key, row(store, first).concurrency) == ("customer-2", 1)


def test_never_later_than_the_first_call_and_max_wait(store):
    first = debounced(store, 1, HOUR, max_wait=HOUR)
    again = debounced(store, 2, HOUR, max_wait=HOUR)
    assert again.scheduled_at == again.created_at + HOUR
    assert again.scheduled_at - first.scheduled_at < NEAR


def test_what_waits_too_long_already_is_due(store):
    first = debounced(store, 1, HOUR, max_wait=HOUR)
    put(store, first, created_at=seconds_from_now(-7200))
    again = debounced(store, 2, HOUR, max_wait=HOUR)
    assert again.status == "pending"
    assert again.scheduled_at == again.created_at + HOUR


def test_adaptive_the_nth_call_waits_n_times_as_long(store):
    options = {"max_wait": 10 * HOUR, "adaptive": True}
    for n in (1, 2, 3):
        found = debounced(store, n, HOUR, **options)
        assert found.scheduled_at - found.created_at == pytest.approx(n * HOUR, abs=NEAR)
    for _ in range(10):
        found = debounced(store, 5, HOUR, **options)
    assert found.scheduled_at == found.created_at + 10 * HOUR


def test_adaptive_begins_anew_with_each_attempt(store, worker):
    options = {"max_wait": 10 * HOUR, "adaptive": True}
    for n in range(4):
        found = debounced(store, n, HOUR, **options)
    begun(store, worker, found)
    found = debounced(store, 5, HOUR, **options)
    assert found.created
    assert found.scheduled_at - found.created_at == pytest.approx(HOUR, abs=NEAR)


def test_keys_targets_and_the_two_ways_are_apart(store):
    found = [
        debounced(store, 1),
        debounced(store, 1, key="a"),
        debounced(store, 1, key=7),
        throttled(store, 1),
        throttled(store, 1, key="a"),
        call(clients.send_welcome, 1).using(database=store.database.alias, debounce=HOUR).enqueue(),
    ]
    assert all(attempt.created for attempt in found)
    assert not debounced(store, 2, key="7").created


@both
@pytest.mark.parametrize("verb", ["expire", "fail", "delete"])
def test_what_ended_is_left_alone(store, paced, verb):
    first = paced(store, 1)
    getattr(first, verb)()
    second = paced(store, 2)
    assert second.created
    if verb == "delete":
        return
    assert row(store, first).method_args == [1]
    first.retry()
    assert paced(store, 3).pk != first.pk
    assert arguments(store) == [1, 3]


@both
def test_what_has_begun_is_left_alone(store, worker, paced):
    claim = begun(store, worker, paced(store, 1))
    second = paced(store, 2)
    assert second.created
    third = paced(store, 3)
    assert (third.pk, third.created) == (second.pk, False)
    assert store.outcomes.finish(worker.pk, [(claim, Succeeded())]) == []
    assert paced(store, 4).pk == second.pk
    assert arguments(store) == [1, 4]


@both
@pytest.mark.parametrize(
    "outcome", [Retried(60, ERROR), Snoozed(60), Succeeded()], ids=["retried", "snoozed", "done"]
)
def test_what_is_performed_again_keeps_its_arguments(store, worker, paced, outcome):
    claim = begun(store, worker, paced(store, 1))
    store.outcomes.finish(worker.pk, [(claim, outcome)])
    assert paced(store, 2).created
    assert arguments(store) == [1, 2]


@both
def test_what_was_released_unbegun_waits_again(store, worker, paced):
    claim = begun(store, worker, paced(store, 1))
    store.outcomes.finish(worker.pk, [(claim, Released())])
    again = paced(store, 2)
    assert (again.created, again.pk) == (False, claim.id)
    assert arguments(store) == [2]


@both
def test_a_retry_of_what_failed_does_not_meet_the_next_one(store, worker, paced):
    claim = begun(store, worker, paced(store, 1))
    first = row(store, claim)
    first.fail()
    second = paced(store, 2)
    first.retry()
    assert (row(store, first).state, first.method_args) == ("pending", [1])
    assert paced(store, 3).pk == second.pk
    assert arguments(store) == [1, 3]


@both
def test_a_rescue_of_a_begun_one_does_not_meet_the_next_one(store, worker, paced):
    claim = begun(store, worker, paced(store, 1))
    second = paced(store, 2)
    let_lease_run_out(store, worker)
    [rescued] = store.workers.rescue()
    assert rescued.attempt_ids == [claim.id]
    assert paced(store, 3).pk == second.pk
    assert arguments(store) == [1, 3]


def test_the_first_throttled_one_goes_at_once_and_the_next_a_period_after_it_began(store, worker):
    first = throttled(store, 1)
    assert first.status == "pending"
    assert store.claims.claim_one(worker.pk, first.pk)
    put(store, first, started_at=seconds_from_now(-600))
    began = row(store, first).started_at
    second = throttled(store, 2)
    assert (second.status, second.scheduled_at) == ("scheduled", began + HOUR)
    third = throttled(store, 3)
    assert (third.pk, third.scheduled_at) == (second.pk, second.scheduled_at)


def test_when_the_period_is_over_the_next_one_goes_at_once(store, worker):
    first = throttled(store, 1)
    begun(store, worker, first)
    put(store, first, started_at=seconds_from_now(-3601))
    second = throttled(store, 2)
    assert second.status == "pending"
    # Not in the past: it would come before what waits longer.
    assert second.created_at - second.scheduled_at < NEAR


def test_what_a_person_put_off_for_long_does_not_hold_up_throttled_calls(store):
    first = throttled(store, 1)
    first.fail()
    first.retry(at=store.database.now() + 100 * HOUR)
    second = throttled(store, 2)
    assert (second.pk, second.created, second.status) == (first.pk, False, "scheduled")
    assert second.scheduled_at - store.database.now() == pytest.approx(HOUR, abs=NEAR)


def test_an_expired_trailing_one_does_not_let_the_next_begin_early(store, worker):
    first = throttled(store, 1)
    begun(store, worker, first)
    second = throttled(store, 2)
    second.expire()
    third = throttled(store, 3)
    assert third.created
    assert (third.status, third.scheduled_at) == ("scheduled", second.scheduled_at)


@both
def test_many_of_one_key_in_a_batch_are_one_and_the_last_wins(store, paced):
    there = paced(store, 0, key="b")
    name = "debounce" if paced is debounced else "throttle"
    calls = [
        call(clients.greet, n).using(
            database=store.database.alias, **({name: HOUR, "key": k} if k else {})
        )
        for n, k in enumerate(["a", None, "b", "a", "b", None, "c"], 1)
    ]
    found = enqueue_many(calls)
    assert [attempt.created for attempt in found] == [True, True, False, True, False, True, True]
    assert [attempt.method_args for attempt in found] == [[4], [2], [5], [4], [5], [6], [7]]
    assert found[2].pk == found[4].pk == there.pk
    assert arguments(store) == [2, 4, 5, 6, 7]


def test_a_batch_that_fails_leaves_its_rows_new(store):
    there = debounced(store, 0)
    bad = call(clients.greet, 1).using(database=store.database.alias, queue="parcels")
    with pytest.raises(ValueError, match="parcels"):
        enqueue_many(
            [call(clients.greet, 1).using(database=store.database.alias, debounce=HOUR), bad]
        )
    assert row(store, there).method_args == [0]


@both
def test_in_the_callers_transaction_and_without_a_savepoint(store, paced):
    with transaction.atomic(store.database.alias):
        first = paced(store, 1)
        second = paced(store, 2)
        [other] = enqueued(store)
    assert {attempt.pk for attempt in store.database.attempts} == {first.pk, other.pk}
    assert row(store, second).method_args == [2]


@both
def test_a_rollback_brings_the_arguments_back(store, paced):
    first = paced(store, 1)
    with transaction.atomic(store.database.alias):
        paced(store, 2)
        paced(store, 3, key="other")
        transaction.set_rollback(True, store.database.alias)
    assert row(store, first).method_args == [1]
    assert paced(store, 4, key="other").created
    assert arguments(store) == [1, 4]


def test_of_a_throttled_one_that_is_gone_nothing_is_known(store, worker):
    first = throttled(store, 1)
    begun(store, worker, first)
    store.database.attempts.filter(pk=first.pk).delete()
    second = throttled(store, 2)
    assert (second.created, second.status) == (True, "pending")


@both
def test_the_last_attempt_counts_whatever_is_kept_of_those_before_it(store, worker, paced):
    first, second = (begun(store, worker, paced(store, number)) for number in (1, 2))
    store.database.attempts.filter(pk=first.id).delete()
    third = paced(store, 3)
    assert (third.created, paced(store, 4).pk) == (True, third.pk)
    if paced is throttled:
        assert third.scheduled_at == row(store, second).started_at + HOUR


def test_the_calls_of_an_adaptive_debounce_are_counted_in_its_metadata(store):
    options = {"max_wait": 10 * HOUR, "adaptive": True}
    debounced(store, 1, HOUR, metadata={"a": 1}, **options)
    found = debounced(store, 2, HOUR, metadata={"b": 2}, **options)
    assert row(store, found).metadata == found.metadata == {"b": 2, "debounce_calls": 2}
    assert "debounce_calls" not in debounced(store, 3, key="plain").metadata


def test_metadata_leave_room_for_the_count_of_calls(store):
    options = {"max_wait": 10 * HOUR, "adaptive": True}
    with pytest.raises(InvalidOption, match="metadata: takes"):
        debounced(store, 1, HOUR, metadata={"a": "x" * 16_374}, **options)
    debounced(store, 1, HOUR, metadata={"a": "x" * 16_340}, **options)


@row_locks
@both
def test_an_open_call_holds_up_neither_the_one_that_has_begun_nor_a_claim(
    store, worker, sessions, paced
):
    claim = begun(store, worker, paced(store, 1))
    caller, other = sessions(), sessions()
    caller.begin()
    assert caller.do(paced, store, 2).created
    [due] = enqueued(store)
    other.be_impatient()
    assert other.do(store.outcomes.finish, worker.pk, [(claim, Succeeded())]) == []
    assert [c.id for c in other.do(store.claims.claim, worker.pk, ["default"], 10)] == [due.pk]
    caller.commit()
    assert not paced(store, 3).created


@row_locks
@both
def test_a_claim_passes_over_what_an_open_call_changes(store, worker, sessions, paced):
    first = paced(store, 1)
    make_due(store, first)
    caller, other = sessions(), sessions()
    caller.begin()
    assert caller.do(paced, store, 2).pk == first.pk
    other.be_impatient()
    assert other.do(store.claims.claim, worker.pk, ["default"], 10) == []
    assert other.do(store.claims.promote) == 0
    caller.commit()
    make_due(store, first)
    [claim] = store.claims.claim(worker.pk, ["default"], 10)
    assert row(store, claim).method_args == [2]


@row_locks
@both
def test_a_call_during_a_claim_makes_a_new_one(store, worker, sessions, paced):
    first = paced(store, 1)
    make_due(store, first)
    claimer, caller = sessions(), sessions()
    holder = sessions()
    if store.database.connection.vendor == "postgresql":
        # Its claim is one statement: another transaction stands for it.
        holder.begin()
        holder.do(partial(put, store, first, claimed_by=worker.pk, started_at=seconds_from_now(0)))
        calling = caller.start(paced, store, 2)
        wait_until_somebody_waits(store)
        holder.commit()
    else:
        claims = claimer.start_and_stop_after(
            ("SKIP LOCKED",), store.claims.claim, worker.pk, ["default"], 10
        )
        calling = caller.start(paced, store, 2)
        wait_until_somebody_waits(store)
        claimer.go_on()
        assert [claim.id for claim in claims.result(PATIENCE)] == [first.pk]
    second = calling.result(PATIENCE)
    assert second.created
    assert arguments(store) == [1, 2]


@row_locks
@both
def test_no_call_waits_for_an_attempt_that_runs_atomically(store, worker, sessions, paced):
    claim = begun(store, worker, paced(store, 1))
    performing, caller = sessions(), sessions()
    performing.begin()
    assert performing.do(store.outcomes.hold, worker.pk, claim)
    caller.be_impatient()
    assert caller.do(paced, store, 2).created


@both
def test_a_caller_waits_for_the_other_ones_transaction(store, sessions, paced):
    one, other = sessions(), sessions()
    one.begin()
    first = one.do(paced, store, 1)
    calling = other.start(paced, store, 2)
    wait_until_somebody_waits(store)
    assert not calling.done()
    one.commit()
    second = calling.result(PATIENCE)
    assert (second.pk, second.created) == (first.pk, False)
    assert arguments(store) == [2]


@both
def test_a_caller_whose_forerunner_rolls_back_is_the_first(store, sessions, paced):
    one, other = sessions(), sessions()
    one.begin()
    one.do(paced, store, 1)
    calling = other.start(paced, store, 2)
    wait_until_somebody_waits(store)
    one.rollback()
    assert calling.result(PATIENCE).created
    assert arguments(store) == [2]


@both
def test_of_many_whose_forerunner_rolls_back_each_has_its_turn(store, sessions, paced):
    first, *others = [sessions() for _ in range(6)]
    first.begin()
    first.do(paced, store, 0)

    def work(number):
        with transaction.atomic(store.database.alias):
            return paced(store, number)

    calling = [other.start(work, number) for number, other in enumerate(others, 1)]
    wait_until_somebody_waits(store, len(others))
    first.rollback()
    found = [one.result(PATIENCE) for one in calling]
    assert [one.created for one in found].count(True) == 1
    assert len({one.pk for one in found}) == store.database.attempts.count() == 1


@both
def test_fifty_at_once_leave_one_with_the_last_ones_arguments(store, paced):
    committed: list[int] = []

    def work(number):
        with transaction.atomic(store.database.alias):
            found = paced(store, number)
            # The key is locked: who notes itself here last is the last to commit.
            committed.append(number)
        return found.pk, found.created

    found = at_once(50, work)
    assert len({pk for pk, _ in found}) == 1
    assert [created for _, created in found].count(True) == 1
    assert arguments(store) == [committed[-1]]


def test_fifty_adaptive_calls_at_once_are_all_counted(store):
    options = {"max_wait": 1000 * HOUR, "adaptive": True}
    at_once(50, lambda number: debounced(store, number, HOUR, **options))
    [attempt] = store.database.attempts
    assert attempt.metadata == {"debounce_calls": 50}
    assert attempt.scheduled_at - attempt.created_at == pytest.approx(50 * HOUR, abs=NEAR)


@both
def test_fifty_at_once_in_autocommit(store, paced):
    found = at_once(50, lambda number: paced(store, number).pk)
    assert len(set(found)) == store.database.attempts.count() == 1


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no snapshots")
@pytest.mark.parametrize("has_begun", [True, False])
@both
def test_a_caller_with_an_older_snapshot_finds_the_last_one_or_may_do_it_again(
    store, worker, sessions, paced, has_begun
):
    first = paced(store, 1)
    caller = sessions()
    caller.execute(REPEATABLE_READ[store.database.connection.vendor])
    caller.begin()
    assert caller.do(store.database.attempts.count) == 1
    begun(store, worker, first)
    last = None if has_begun else paced(store, 2)
    try:
        found = caller.do(paced, store, 3)
    except OperationalError:
        assert store.database.connection.vendor == "postgresql"
        caller.rollback()
        found = caller.do(paced, store, 3)
    else:
        caller.commit()
    assert found.created if last is None else found.pk == last.pk
    assert arguments(store) == [1, 3]


class _Record:
    """Performs what is due, and notes when and with what."""

    def __init__(self, store):
        self.store = store
        self.worker = registered(store)
        self.begun = []

    def once(self):
        self.store.claims.promote()
        for claim in self.store.claims.claim(self.worker.pk, ["default"], 10):
            attempt = Attempt.objects.using(self.store.database.alias).get(pk=claim.id)
            self.begun.append((claim.started_at, attempt.method_args[0]))
            # On PostgreSQL a call that found it taken locks it until its transaction ends.
            while self.store.outcomes.finish(self.worker.pk, [(claim, Succeeded())]).locked:
                time.sleep(0.01)

    def until_done(self):
        live = self.store.database.attempts.exclude(status="succeeded")
        deadline = time.monotonic() + PATIENCE
        while live.exists():
            assert time.monotonic() < deadline, list(live.values())
            self.once()


@pytest.mark.parametrize("name", ["debounce", "throttle"])
def test_calls_and_claims_at_once_lose_nothing(store, name):
    period = timedelta(seconds=0.3)
    committed: list[int] = []
    record = _Record(store)

    def work(number):
        if number == 0:
            deadline = time.monotonic() + PATIENCE
            while len(committed) < 60 and time.monotonic() < deadline:
                record.once()
            return
        options = {"database": store.database.alias, name: period}
        for turn in range(10):
            with transaction.atomic(store.database.alias):
                call(clients.greet, number * 100 + turn).using(**options).enqueue()
                committed.append(number * 100 + turn)

    at_once(7, work)
    record.until_done()
    begun_at, performed = zip(*record.begun, strict=True)
    assert performed[-1] == committed[-1]
    assert len(set(performed)) == len(performed)
    if name == "throttle":
        gaps = [b - a for a, b in pairwise(begun_at)]
        assert all(gap >= period for gap in gaps), gaps
