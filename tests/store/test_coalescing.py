"""Debounce and throttle: one attempt of a key waits, with the arguments of the last call."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from django.db import transaction

from async_attempts import Attempt, call
from async_attempts.calls import enqueue_many
from async_attempts.lifecycle import Released, Retried, Snoozed, Succeeded
from async_attempts.models import Pace
from async_attempts.store.rows import seconds_from_now
from tests.shop import clients

from .rows import ERROR, enqueued, let_lease_run_out, put, registered, row
from .sessions import PATIENCE, at_once, wait_until_somebody_waits

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
NEAR = timedelta(seconds=30)

row_locks = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite has one writer and no row locks"
)


def debounced(store, number=0, delay=HOUR, **options):
    options |= {"database": store.alias, "debounce": delay}
    return call(clients.greet, number).using(**options).enqueue()


def throttled(store, number=0, period=HOUR, **options):
    options |= {"database": store.alias, "throttle": period}
    return call(clients.greet, number).using(**options).enqueue()


def make_due(store, attempt):
    put(store, attempt, scheduled_at=seconds_from_now(-1), status="pending")


def begun(store, worker, attempt):
    """Its claim."""
    make_due(store, attempt)
    claim = store.claim_one(worker.pk, attempt.pk)
    assert claim is not None
    return claim


def begun_and_parked(store, worker, paced, **options):
    """One that runs, and one of the same key that was claimed and waits for a place."""
    [held] = enqueued(store, limit_key="k")
    assert store.claim_one(worker.pk, held.pk)
    parked = paced(store, limit_key="k", **options)
    make_due(store, parked)
    assert store.claim_one(worker.pk, parked.pk) is None
    assert row(store, parked).status == "waiting"
    return parked


def arguments(store):
    return sorted(attempt.method_args[0] for attempt in store.attempts)


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
    assert store.attempts.count() == 1


def test_a_debounced_call_moves_the_time(store):
    first = debounced(store, 1, SECOND)
    assert first.status == "scheduled"
    assert first.scheduled_at - first.created_at == pytest.approx(SECOND, abs=SECOND)
    second = debounced(store, 2, HOUR)
    assert second.scheduled_at - second.created_at == pytest.approx(HOUR, abs=NEAR)
    third = debounced(store, 3, SECOND)
    assert third.scheduled_at - third.created_at < NEAR


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
        call(clients.send_welcome, 1).using(database=store.alias, debounce=HOUR).enqueue(),
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
    assert store.finish(worker.pk, [(claim, Succeeded())]) == []
    assert paced(store, 4).pk == second.pk
    assert arguments(store) == [1, 4]


@both
@pytest.mark.parametrize(
    "outcome", [Retried(60, ERROR), Snoozed(60), Succeeded()], ids=["retried", "snoozed", "done"]
)
def test_what_is_performed_again_keeps_its_arguments(store, worker, paced, outcome):
    claim = begun(store, worker, paced(store, 1))
    store.finish(worker.pk, [(claim, outcome)])
    assert paced(store, 2).created
    assert arguments(store) == [1, 2]


@both
def test_what_was_released_unbegun_waits_again(store, worker, paced):
    claim = begun(store, worker, paced(store, 1))
    store.finish(worker.pk, [(claim, Released())])
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
    [rescued] = store.rescue()
    assert rescued.attempt_ids == [claim.id]
    assert paced(store, 3).pk == second.pk
    assert arguments(store) == [1, 3]


def test_the_first_throttled_one_goes_at_once_and_the_next_a_period_after_it_began(store, worker):
    first = throttled(store, 1)
    assert first.status == "pending"
    assert store.claim_one(worker.pk, first.pk)
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
    first.retry(at=store.moment() + 100 * HOUR)
    second = throttled(store, 2)
    assert (second.pk, second.created, second.status) == (first.pk, False, "scheduled")
    assert second.scheduled_at - store.moment() == pytest.approx(HOUR, abs=NEAR)


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
        call(clients.greet, n).using(database=store.alias, **({name: HOUR, "key": k} if k else {}))
        for n, k in enumerate(["a", None, "b", "a", "b", None, "c"], 1)
    ]
    found = enqueue_many(calls)
    assert [attempt.created for attempt in found] == [True, True, False, True, False, True, True]
    assert [attempt.method_args for attempt in found] == [[4], [2], [5], [4], [5], [6], [7]]
    assert found[2].pk == found[4].pk == there.pk
    assert arguments(store) == [2, 4, 5, 6, 7]


def test_a_batch_that_fails_leaves_its_rows_new(store):
    there = debounced(store, 0)
    bad = call(clients.greet, 1).using(database=store.alias, queue="parcels")
    with pytest.raises(ValueError, match="parcels"):
        enqueue_many([call(clients.greet, 1).using(database=store.alias, debounce=HOUR), bad])
    assert row(store, there).method_args == [0]


@both
def test_in_the_callers_transaction_and_without_a_savepoint(store, paced):
    with transaction.atomic(store.alias):
        first = paced(store, 1)
        second = paced(store, 2)
        [other] = enqueued(store)
    assert {attempt.pk for attempt in store.attempts} == {first.pk, other.pk}
    assert row(store, second).method_args == [2]


@both
def test_a_rollback_brings_the_arguments_back(store, paced):
    first = paced(store, 1)
    with transaction.atomic(store.alias):
        paced(store, 2)
        paced(store, 3, key="other")
        transaction.set_rollback(True, store.alias)
    assert row(store, first).method_args == [1]
    assert paced(store, 4, key="other").created
    assert arguments(store) == [1, 4]


def paces(store):
    return Pace.objects.using(store.alias)


def let_time_pass(store):
    paces(store).update(look_at=seconds_from_now(-1))


@both
def test_a_pace_is_kept_while_its_last_attempt_waits_and_forgotten_after_its_period(
    store, worker, paced
):
    claim = begun(store, worker, paced(store, 1))
    waiting = paced(store, 1, key="waits")
    assert store.forget_paces() == 0
    let_time_pass(store)
    assert store.forget_paces() == (1 if paced is debounced else 0)
    put(store, claim, started_at=seconds_from_now(-4000))
    let_time_pass(store)
    store.forget_paces()
    assert paces(store).get().attempt_id == waiting.pk
    assert paced(store, 2, key="waits").pk == waiting.pk
    assert paced(store, 2).created


def test_a_throttled_one_that_is_gone_may_have_begun_just_now(store, worker):
    first = throttled(store, 1)
    begun(store, worker, first)
    store.attempts.filter(pk=first.pk).delete()
    second = throttled(store, 2)
    assert second.scheduled_at - second.created_at == pytest.approx(HOUR, abs=NEAR)


def test_one_that_is_gone_is_forgotten_a_period_after_that_was_seen(store, worker):
    first = throttled(store, 1)
    begun(store, worker, first)
    store.attempts.filter(pk=first.pk).delete()
    let_time_pass(store)
    assert store.forget_paces() == 0
    seen = paces(store).get()
    assert seen.attempt_id is None
    second = throttled(store, 2)
    assert (second.status, second.scheduled_at) == ("scheduled", seen.look_at)
    second.delete()
    paces(store).update(attempt_id=None)
    let_time_pass(store)
    assert throttled(store, 3).status == "pending"


@row_locks
@both
def test_forgetting_waits_for_no_call(store, sessions, paced):
    paced(store, 1).expire()
    let_time_pass(store)
    caller, other = sessions(), sessions()
    caller.begin()
    caller.do(paced, store, 2)
    other.be_impatient()
    assert other.do(store.forget_paces) == 0
    caller.commit()
    assert not paced(store, 3).created


@row_locks
@both
def test_forgetting_some_waits_for_no_call_of_another(store, sessions, paced):
    for n in range(5):
        paced(store, n, key=n).expire()
    paces(store).update(period=0)
    let_time_pass(store)
    caller, other = sessions(), sessions()
    caller.begin()
    caller.do(paced, store, 2, key=2)
    other.be_impatient()
    assert other.do(store.forget_paces) == 4
    caller.commit()
    assert not paced(store, 3, key=2).created


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
    assert other.do(store.finish, worker.pk, [(claim, Succeeded())]) == []
    assert [c.id for c in other.do(store.claim, worker.pk, ["default"], 10)] == [due.pk]
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
    assert other.do(store.claim, worker.pk, ["default"], 10) == []
    assert other.do(store.promote) == 0
    caller.commit()
    make_due(store, first)
    [claim] = store.claim(worker.pk, ["default"], 10)
    assert row(store, claim).method_args == [2]


@row_locks
@both
def test_a_call_during_a_claim_makes_a_new_one(store, worker, sessions, paced):
    first = paced(store, 1)
    make_due(store, first)
    claimer, caller = sessions(), sessions()
    holder = sessions()
    if store.connection.vendor == "postgresql":
        # Its claim is one statement: another transaction stands for it.
        holder.begin()
        holder.do(partial(put, store, first, claimed_by=worker.pk, started_at=seconds_from_now(0)))
        calling = caller.start(paced, store, 2)
        wait_until_somebody_waits(store)
        holder.commit()
    else:
        claims = claimer.start_and_stop_after(
            ("SKIP LOCKED",), store.claim, worker.pk, ["default"], 10
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
    assert performing.do(store.hold, worker.pk, claim)
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
        with transaction.atomic(store.alias):
            return paced(store, number)

    calling = [other.start(work, number) for number, other in enumerate(others, 1)]
    wait_until_somebody_waits(store, len(others))
    first.rollback()
    found = [one.result(PATIENCE) for one in calling]
    assert [one.created for one in found].count(True) == 1
    assert len({one.pk for one in found}) == store.attempts.count() == 1


@both
def test_fifty_at_once_leave_one_with_the_last_ones_arguments(store, paced):
    committed: list[int] = []

    def work(number):
        with transaction.atomic(store.alias):
            found = paced(store, number)
            # The key is locked: who notes itself here last is the last to commit.
            committed.append(number)
        return found.pk, found.created

    found = at_once(50, work)
    assert len({pk for pk, _ in found}) == 1
    assert [created for _, created in found].count(True) == 1
    assert arguments(store) == [committed[-1]]


@both
def test_fifty_at_once_in_autocommit(store, paced):
    found = at_once(50, lambda number: paced(store, number).pk)
    assert len(set(found)) == store.attempts.count() == 1


class _Record:
    """Performs what is due, and notes when and with what."""

    def __init__(self, store):
        self.store = store
        self.worker = registered(store)
        self.begun = []

    def once(self):
        self.store.promote()
        for claim in self.store.claim(self.worker.pk, ["default"], 10):
            attempt = Attempt.objects.using(self.store.alias).get(pk=claim.id)
            self.begun.append((claim.started_at, attempt.method_args[0]))
            self.store.finish(self.worker.pk, [(claim, Succeeded())])

    def until_done(self):
        live = self.store.attempts.exclude(status="succeeded")
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
        options = {"database": store.alias, name: period}
        for turn in range(10):
            with transaction.atomic(store.alias):
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
