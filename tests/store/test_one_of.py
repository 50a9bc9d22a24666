"""`one_of`: of one key one attempt is live; what a call finds, and what becomes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from async_attempts import call
from async_attempts.calls import enqueue_many
from async_attempts.encryption import open_sealed
from async_attempts.lifecycle import Failed, Released, Retried, Snoozed, Succeeded
from async_attempts.models import Dependency
from async_attempts.payload import load_bound
from async_attempts.store.expressions import seconds_from_now
from tests.shop import clients

from .rows import ERROR, enqueued, let_lease_run_out, put, row

HOUR = timedelta(hours=1)
NEAR = timedelta(seconds=30)
WAYS = ("keep", "skip", "replace", "again")

every_way = pytest.mark.parametrize("when_taken", WAYS)


def one_of(store, number=0, when_taken="keep", key="k", **options):
    options |= {"database": store.database.alias, "one_of": key, "when_taken": when_taken}
    return call(clients.greet, number).using(**options).enqueue()


def begun(store, worker, attempt):
    """Its claim."""
    claim = store.claims.claim_one(worker.pk, attempt.pk)
    assert claim is not None
    return claim


def arguments(store):
    return sorted(attempt.method_args[0] for attempt in store.database.attempts)


def finish(store, worker, claim, outcome=None):
    assert store.outcomes.finish(worker.pk, [(claim, outcome or Succeeded())]) == []


@every_way
def test_the_first_call_is_an_ordinary_attempt(store, worker, when_taken):
    first = one_of(store, 1, when_taken)
    assert (first.created, first.status) == (True, "pending")
    finish(store, worker, begun(store, worker, first))
    assert row(store, first).status == "succeeded"


@pytest.mark.parametrize("when_taken", ["keep", "skip", "again"])
def test_one_that_waits_serves_unchanged(store, when_taken):
    first = one_of(store, 1, when_taken, priority=3, scheduled_at=HOUR)
    second = one_of(store, 2, when_taken, priority=4)
    assert (second.pk, second.created, second.status) == (first.pk, False, "scheduled")
    assert (second.method_args, second.priority) == ([1], 3)
    assert second.scheduled_at == row(store, first).scheduled_at
    assert store.database.attempts.count() == 1


def test_replace_takes_the_place_of_one_that_waits_and_its_time(store):
    first = one_of(store, 1, "replace", scheduled_at=HOUR, priority=3, limit_key="a", concurrency=2)
    second = one_of(store, 2, "replace", scheduled_at=2 * HOUR, limit_key="b")
    assert (second.pk, second.created, second.method_args) == (first.pk, False, [2])
    kept = row(store, first)
    assert kept.scheduled_at - kept.created_at == pytest.approx(2 * HOUR, abs=NEAR)
    assert (kept.priority, kept.limit_key, kept.concurrency) == (0, "b", 1)
    third = one_of(store, 3, "replace")
    assert (third.pk, third.status) == (first.pk, "pending")
    assert third.scheduled_at - third.created_at < NEAR
    assert arguments(store) == [3]


@pytest.mark.parametrize("when_taken", ["keep", "replace", "again"])
def test_one_that_runs_is_left_and_a_new_one_is_written(store, worker, when_taken):
    claim = begun(store, worker, one_of(store, 1, when_taken))
    second = one_of(store, 2, when_taken)
    assert second.created
    third = one_of(store, 3, when_taken)
    assert (third.pk, third.created) == (second.pk, False)
    finish(store, worker, claim)
    assert arguments(store) == ([1, 3] if when_taken == "replace" else [1, 2])


def test_skip_is_served_by_one_that_runs(store, worker):
    claim = begun(store, worker, one_of(store, 1, "skip"))
    second = one_of(store, 2, "skip")
    assert (second.pk, second.created, second.state) == (claim.id, False, "running")
    finish(store, worker, claim)
    assert one_of(store, 3, "skip").created


def test_again_begins_when_the_one_that_runs_has_ended(store, worker):
    claim = begun(store, worker, one_of(store, 1, "again"))
    second = one_of(store, 2, "again")
    assert (second.status, second.blockers) == ("waiting", 1)
    assert store.claims.claim_one(worker.pk, second.pk) is None
    assert one_of(store, 3, "again").pk == second.pk
    finish(store, worker, claim)
    assert (row(store, second).status, row(store, second).blockers) == ("pending", 0)
    assert row(store, second).method_args == [2]
    running = begun(store, worker, second)
    third = one_of(store, 4, "again")
    assert (third.created, third.status) == (True, "waiting")
    finish(store, worker, running, Failed("no", ERROR))
    assert row(store, third).status == "pending"


def test_again_waits_for_the_end_and_not_for_the_next_execution(store, worker):
    claim = begun(store, worker, one_of(store, 1, "again"))
    second = one_of(store, 2, "again")
    finish(store, worker, claim, Retried(3600, ERROR))
    assert row(store, second).status == "waiting"
    row(store, claim).expire("no more")
    assert row(store, second).status == "pending"


def test_again_is_due_at_its_own_time(store, worker):
    claim = begun(store, worker, one_of(store, 1, "again"))
    second = one_of(store, 2, "again", scheduled_at=HOUR)
    assert second.status == "waiting"
    finish(store, worker, claim)
    assert row(store, second).status == "scheduled"


def test_the_one_before_it_may_be_gone_when_its_call_is_committed(store, worker):
    claim = begun(store, worker, one_of(store, 1, "again"))
    with transaction.atomic(store.database.alias):
        second = one_of(store, 2, "again")
        store.database.attempts.filter(pk=claim.id).delete()
    assert row(store, second).status == "pending"


def bound_to(attempt):
    """The digest of its prerequisites that is sealed with its arguments."""
    return load_bound(open_sealed(attempt.args, attempt.context("args")))[1]


def test_replace_changes_one_that_waits_for_the_one_that_runs(store, worker):
    claim = begun(store, worker, one_of(store, 1, "again"))
    waiting = one_of(store, 2, "again")
    again = one_of(store, 3, "replace", priority=5)
    assert (again.pk, again.created) == (waiting.pk, False)
    assert (again.status, again.blockers) == ("waiting", 1)
    assert bound_to(again) == bound_to(waiting) != ""
    finish(store, worker, claim)
    changed = row(store, waiting)
    assert (changed.status, changed.method_args, changed.priority) == ("pending", [3], 5)
    changed.perform()
    assert changed.status == "succeeded"


@pytest.mark.parametrize(
    "outcome", [Retried(60, ERROR), Snoozed(60), Released()], ids=["retried", "snoozed", "released"]
)
@pytest.mark.parametrize("when_taken", ["keep", "skip", "again"])
def test_what_was_put_back_serves(store, worker, when_taken, outcome):
    claim = begun(store, worker, one_of(store, 1, when_taken))
    finish(store, worker, claim, outcome)
    second = one_of(store, 2, when_taken)
    assert (second.pk, second.created, second.method_args) == (claim.id, False, [1])


@pytest.mark.parametrize("has_begun", [True, False])
def test_replace_leaves_what_has_begun(store, worker, has_begun):
    claim = begun(store, worker, one_of(store, 1, "replace"))
    finish(store, worker, claim, Retried(60, ERROR) if has_begun else Released())
    second = one_of(store, 2, "replace")
    assert (second.created, second.pk == claim.id) == (has_begun, not has_begun)
    assert arguments(store) == ([1, 2] if has_begun else [2])


@every_way
def test_one_that_is_parked_serves_or_is_replaced(store, worker, when_taken):
    [held] = enqueued(store, limit_key="place")
    begun(store, worker, held)
    parked = one_of(store, 1, when_taken, limit_key="place")
    assert store.claims.claim_one(worker.pk, parked.pk) is None
    assert row(store, parked).status == "waiting"
    second = one_of(store, 2, when_taken, limit_key="place")
    assert (second.pk, second.created) == (parked.pk, False)
    assert second.status == ("pending" if when_taken == "replace" else "waiting")


@every_way
@pytest.mark.parametrize("verb", ["expire", "fail", "delete"])
def test_the_key_is_free_whoever_ends_the_attempt(store, when_taken, verb):
    first = one_of(store, 1, when_taken)
    getattr(first, verb)()
    assert one_of(store, 2, when_taken).created


@every_way
@pytest.mark.parametrize("outcome", [Succeeded(), Failed("no", ERROR)], ids=["done", "failed"])
def test_the_key_is_free_when_the_attempt_has_ended(store, worker, when_taken, outcome):
    finish(store, worker, begun(store, worker, one_of(store, 1, when_taken)), outcome)
    second = one_of(store, 2, when_taken)
    assert (second.created, second.status) == (True, "pending")


@every_way
def test_what_a_dead_worker_held_serves_when_it_is_rescued(store, worker, when_taken):
    claim = begun(store, worker, one_of(store, 1, when_taken))
    let_lease_run_out(store, worker)
    store.workers.rescue()
    second = one_of(store, 2, when_taken)
    assert (second.pk == claim.id) == (when_taken != "replace")


def test_what_a_person_retries_serves_again(store):
    first = one_of(store, 1)
    first.fail()
    first.retry()
    assert one_of(store, 2).pk == first.pk


def test_keys_targets_and_other_ways_are_apart(store):
    greet, welcome = clients.greet, clients.send_welcome
    given: list[tuple[Any, dict[str, Any]]] = [
        (greet, {"one_of": "a"}),
        (greet, {"one_of": 7}),
        (greet, {"one_of": True}),
        (greet, {"one_of": False}),
        (greet, {}),
        (greet, {"debounce": HOUR, "key": "a"}),
        (welcome, {"one_of": "a"}),
    ]
    calls = [call(target, 1).using(database=store.database.alias, **o) for target, o in given]
    assert all(one.enqueue().created for one in calls)
    assert not one_of(store, 2, key="7").created
    assert not one_of(store, 2, key=True).created


@pytest.mark.parametrize("when_taken", ["keep", "skip", "again"])
def test_of_many_in_a_batch_the_first_counts(store, when_taken):
    there = one_of(store, 0, when_taken, "b")
    found = enqueue_many(batch(store, ["a", None, "b", "a", "b", None], [when_taken] * 6))
    assert [one.created for one in found] == [True, True, False, False, False, True]
    assert [one.method_args for one in found] == [[1], [2], [0], [1], [0], [6]]
    assert (found[3].pk, found[4].pk) == (found[0].pk, there.pk)
    assert arguments(store) == [0, 1, 2, 6]


def test_of_many_in_a_batch_that_replace_the_last_counts(store):
    there = one_of(store, 0, "replace", "b")
    found = enqueue_many(batch(store, ["a", None, "b", "a", "b"], ["replace"] * 5))
    assert [one.created for one in found] == [True, True, False, False, False]
    assert [one.method_args for one in found] == [[4], [2], [5], [4], [5]]
    assert found[2].pk == found[4].pk == there.pk
    assert arguments(store) == [2, 4, 5]


def test_different_ways_in_a_batch_act_in_order(store, worker):
    begun(store, worker, one_of(store, 0))
    ways = ["skip", "again", "replace", "replace", "keep", "skip"]
    found = enqueue_many(batch(store, ["k"] * 6, ways))
    assert [one.created for one in found] == [False, True, False, False, False, False]
    assert len({one.pk for one in found}) == 2
    assert (row(store, found[1]).method_args, found[1].status) == ([4], "waiting")
    assert Dependency.objects.using(store.database.alias).count() == 1


def batch(store, keys, ways):
    return [
        call(clients.greet, n).using(
            database=store.database.alias, **({"one_of": k, "when_taken": w} if k else {})
        )
        for n, (k, w) in enumerate(zip(keys, ways, strict=True), 1)
    ]


@every_way
def test_parts_of_a_generator_are_counted_once(store, when_taken):
    calls = (one for one in batch(store, ["a", "b"] * 400, [when_taken] * 800))
    assert enqueue_many(calls, returning=False) == 2
    assert arguments(store) == ([799, 800] if when_taken == "replace" else [1, 2])


@every_way
def test_a_rollback_frees_the_key_and_brings_the_arguments_back(store, when_taken):
    first = one_of(store, 1, when_taken)
    with transaction.atomic(store.database.alias):
        one_of(store, 2, when_taken)
        assert one_of(store, 3, when_taken, "other").created
        transaction.set_rollback(True, store.database.alias)
    assert row(store, first).method_args == [1]
    assert one_of(store, 4, when_taken, "other").created


@every_way
def test_the_last_attempt_counts_whatever_is_kept_of_those_before_it(store, worker, when_taken):
    first = one_of(store, 1, when_taken)
    finish(store, worker, begun(store, worker, first))
    second = one_of(store, 2, when_taken)
    store.database.attempts.filter(pk=first.pk).delete()
    assert one_of(store, 3, when_taken).pk == second.pk
    second.expire()
    assert one_of(store, 4, when_taken).created


@every_way
def test_one_that_is_overdue_serves_nobody(store, when_taken):
    first = one_of(store, 1, when_taken, expires_at=HOUR)
    put(store, first, expires_at=seconds_from_now(-1))
    second = one_of(store, 2, when_taken)
    if when_taken == "replace":
        # It takes the place, and has no deadline.
        assert (second.pk, second.expires_at) == (first.pk, None)
    else:
        assert second.created
        third = one_of(store, 3, when_taken)
        assert (third.pk, third.created) == (second.pk, False)
    assert store.retention.expire_overdue() == ([] if when_taken == "replace" else [first.pk])
