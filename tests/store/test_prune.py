"""Prune: what ended long enough ago is deleted, with its failures."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from django.db import transaction

from async_attempts.lifecycle import Failed
from async_attempts.retention import Keep, Retention
from async_attempts.store.expressions import seconds_from_now

from .rows import ERROR, enqueued, failures, one_in_each_state, put, row

FINAL = ("succeeded", "failed", "expired")


def keeping(ages):
    """What is kept by age alone: seconds by status."""
    return Retention({status: Keep(age) for status, age in ages.items()})


ALL_AT_ONCE = keeping(dict.fromkeys(FINAL, 0.0))


def ended(store, attempt, status, seconds_ago):
    put(store, attempt, status=status, completed_at=seconds_from_now(-seconds_ago))


def kept(store):
    return list(store.database.attempts.order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("status", ["succeeded", "failed", "expired"])
def test_each_final_status_has_its_own_age(store, status):
    old, young, other = enqueued(store, 3)
    keep = {"succeeded": 5.0, "failed": 5.0, "expired": 5.0, status: 1000.0}
    ended(store, old, status, 2000)
    ended(store, young, status, 500)
    ended(store, other, "expired" if status != "expired" else "failed", 500)
    assert store.retention.prune(keeping(keep)) == (2, None)
    assert kept(store) == [young.pk]


@pytest.mark.parametrize("status", ["succeeded", "failed", "expired"])
def test_none_keeps_for_ever(store, status):
    [attempt] = enqueued(store)
    ended(store, attempt, status, 10**9)
    assert store.retention.prune(keeping({status: None})) == (0, None)
    assert store.retention.prune(keeping({})) == (0, None)
    assert kept(store) == [attempt.pk]


def test_what_has_not_ended_is_kept(store, worker):
    attempts = one_in_each_state(store, worker)
    for attempt in attempts.values():
        put(store, attempt, scheduled_at=seconds_from_now(-(10**6)))
    for status in FINAL:
        ended(store, attempts[status], status, 1)
    keep = dict.fromkeys([*FINAL, "pending", "scheduled", "waiting"], 0.0)
    assert store.retention.prune(keeping(keep)) == (3, None)
    assert set(kept(store)) == {attempts[s].pk for s in "scheduled pending waiting running".split()}


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides_what_is_old(store):
    [attempt] = enqueued(store)
    put(store, attempt, status="succeeded", completed_at=datetime.now(UTC))
    assert store.retention.prune(keeping({"succeeded": 3650.0})) == (0, None)
    assert store.retention.prune(keeping({"succeeded": 3550.0})) == (1, None)


def test_its_failures_go_with_it(store, worker, claimed):
    gone, stays = claimed(2)
    store.outcomes.finish(worker.pk, [(claim, Failed("no use", ERROR)) for claim in (gone, stays)])
    ended(store, gone, "failed", 60)
    assert store.retention.prune(keeping({"failed": 30.0})) == (1, None)
    assert [failure.attempt_id for failure in failures(store)] == [stays.id]
    assert row(store, stays).status == "failed"


def test_a_walk_goes_on_where_it_stopped(store):
    attempts = enqueued(store, 5)
    for attempt in (attempts[1], attempts[4]):
        ended(store, attempt, "succeeded", 60)
    number, walk = store.retention.prune(ALL_AT_ONCE, limit=2)
    assert (number, walk.before) == (1, attempts[3].pk)
    number, walk = store.retention.prune(ALL_AT_ONCE, limit=2, walk=walk)
    assert (number, walk.before) == (1, attempts[1].pk)
    assert store.retention.prune(ALL_AT_ONCE, limit=2, walk=walk) == (0, None)
    assert kept(store) == [attempts[0].pk, attempts[2].pk, attempts[3].pk]


def test_a_walk_over_nothing_is_at_its_end(store):
    assert store.retention.prune(ALL_AT_ONCE) == (0, None)


def test_pruning_is_not_part_of_a_callers_transaction(store):
    with transaction.atomic(store.database.alias), pytest.raises(RuntimeError):
        store.retention.prune(ALL_AT_ONCE)


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_what_somebody_is_retrying_is_left(store, sessions):
    held, free = enqueued(store, 2)
    for attempt in (held, free):
        ended(store, attempt, "failed", 60)
    other = sessions()
    other.begin()
    other.do(held.retry)
    assert store.retention.prune(ALL_AT_ONCE) == (1, None)
    other.commit()
    assert row(store, held).state == "pending"


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_pruning_waits_for_nothing_that_runs_atomically(store, worker, claimed, sessions):
    [running] = claimed()
    for attempt in enqueued(store, 4):
        ended(store, attempt, "succeeded", 100)
    performing, other = sessions(), sessions()
    performing.begin()
    assert performing.do(store.outcomes.hold, worker.pk, running)
    other.be_impatient()
    assert other.do(store.retention.prune, keeping({"succeeded": 50})) == (4, None)


def test_where_a_project_refers_to_attempts_django_deletes(store, worker, claimed, monkeypatch):
    [claim] = claimed(1)
    store.outcomes.finish(worker.pk, [(claim, Failed("no use", ERROR))])
    ended(store, claim, "failed", 60)
    monkeypatch.setitem(store.retention.__dict__, "_is_referred_to", True)
    assert store.retention.prune(keeping({"failed": 30.0})) == (1, None)
    assert (kept(store), list(failures(store))) == ([], [])


def test_of_what_is_kept_by_count_the_newest_stay(store):
    attempts = enqueued(store, 6)
    for attempt in attempts[:5]:
        ended(store, attempt, "succeeded", 60)
    ended(store, attempts[5], "failed", 60)
    retention = Retention({"succeeded": Keep(count=2), "failed": Keep(count=1)})
    assert store.retention.prune(retention) == (3, None)
    assert kept(store) == [attempt.pk for attempt in attempts[3:]]
    assert store.retention.prune(retention) == (0, None)


def test_a_count_goes_on_over_the_batches_of_a_walk(store):
    attempts = enqueued(store, 7)
    for attempt in attempts:
        ended(store, attempt, "succeeded", 60)
    retention, walk, numbers = Retention({"succeeded": Keep(count=3)}), None, []
    for _ in range(4):
        number, walk = store.retention.prune(retention, limit=2, walk=walk)
        numbers.append(number)
    assert (numbers, walk) == ([0, 1, 2, 1], None)
    assert kept(store) == [attempt.pk for attempt in attempts[4:]]


def test_age_and_count_both_have_to_be_kept_within(store):
    old, surplus, new = enqueued(store, 3)
    for attempt, seconds_ago in ((old, 600), (surplus, 5), (new, 1)):
        ended(store, attempt, "succeeded", seconds_ago)
    assert store.retention.prune(Retention({"succeeded": Keep(age=60, count=2)})) == (1, None)
    assert kept(store) == [surplus.pk, new.pk]
    assert store.retention.prune(Retention({"succeeded": Keep(age=60, count=1)})) == (1, None)
    assert kept(store) == [new.pk]


def test_each_queue_keeps_its_own(store):
    mine = enqueued(store, 3, queue="emails")
    others = enqueued(store, 3)
    for attempt in (*mine, *others):
        ended(store, attempt, "succeeded", 60)
    by_queue = {"emails": {"succeeded": Keep(count=1)}}
    assert store.retention.prune(Retention({"succeeded": Keep(1000.0)}, by_queue)) == (2, None)
    assert kept(store) == [mine[2].pk, *(attempt.pk for attempt in others)]
    by_queue = {"emails": {"succeeded": Keep(1000.0)}}
    assert store.retention.prune(Retention({"succeeded": Keep(1.0)}, by_queue)) == (3, None)
    assert kept(store) == [mine[2].pk]


@pytest.mark.parametrize("keep", [Keep(1.0), Keep(count=1)], ids=["age", "count"])
def test_what_others_wait_for_is_left(store, keep):
    needed, *others, dependent = enqueued(store, 4)
    for attempt in (needed, *others):
        ended(store, attempt, "failed", 60)
    put(store, needed, has_dependents=True)
    store.database.dependencies.create(attempt=dependent, prerequisite=needed, condition="failure")
    store.retention.prune(Retention({"failed": keep}))
    assert needed.pk in kept(store)
    assert others[0].pk not in kept(store)


@pytest.mark.parametrize("status", ["failed", "expired", "succeeded"])
def test_what_a_retry_may_need_is_left(store, status):
    needed, dependent = enqueued(store, 2)
    ended(store, needed, "succeeded", 60)
    ended(store, dependent, status, 1)
    store.database.dependencies.create(
        attempt=dependent, prerequisite=needed, condition="success", state="met"
    )
    store.retention.prune(Retention({"succeeded": Keep(age=30.0)}))
    assert (needed.pk in kept(store)) == (status != "succeeded")


@pytest.mark.parametrize("stays", [True, False])
def test_a_chain_that_is_to_go_goes_at_once(store, stays):
    chain = enqueued(store, 3)
    for attempt, status in zip(chain, ("failed", "expired", "expired"), strict=True):
        ended(store, attempt, status, 60)
    for needed, dependent in pairwise(chain):
        store.database.dependencies.create(
            attempt=dependent, prerequisite=needed, condition="success", state="unmet"
        )
    # As nothing but an edit of the table makes it: a circle.
    store.database.dependencies.create(
        attempt=chain[0], prerequisite=chain[1], condition="success", state="unmet"
    )
    if stays:
        ended(store, chain[2], "expired", 1)
    store.retention.prune(Retention({"failed": Keep(age=30.0), "expired": Keep(age=30.0)}))
    assert len(kept(store)) == (3 if stays else 0)


def test_what_is_only_counted_is_deleted_by_nobody(store):
    attempts = enqueued(store, 4)
    for attempt in attempts:
        ended(store, attempt, "succeeded", 60)
    retention = Retention({"succeeded": Keep(count=1)})
    assert store.retention.count_unwanted(retention) == (3, None)
    assert len(kept(store)) == 4
    assert store.retention.count_unwanted(keeping({"succeeded": 5.0})) == (4, None)


def test_a_walk_that_finds_nothing_writes_nothing(store, django_assert_num_queries):
    enqueued(store, 3)
    with django_assert_num_queries(1, using=store.database.alias):
        assert store.retention.prune(ALL_AT_ONCE) == (0, None)


REFUSED = {"status": "failed", "failure_kind": "refused"}


def refused(store, attempt, seconds_ago):
    put(store, attempt, **REFUSED, completed_at=seconds_from_now(-seconds_ago))


def test_what_was_refused_is_kept_as_long_as_what_succeeded(store):
    old, young, failed = enqueued(store, 3)
    refused(store, old, 2000)
    refused(store, young, 500)
    ended(store, failed, "failed", 2000)
    keep = keeping({"succeeded": 1000.0, "failed": None, "expired": None})
    assert store.retention.count_unwanted(keep) == (1, None)
    assert store.retention.prune(keep) == (1, None)
    assert kept(store) == [young.pk, failed.pk]


def test_what_was_refused_outlives_failures_where_successes_do(store):
    answer, failed = enqueued(store, 2)
    refused(store, answer, 500)
    ended(store, failed, "failed", 500)
    keep = keeping({"succeeded": None, "failed": 100.0, "expired": None})
    assert store.retention.prune(keep) == (1, None)
    assert kept(store) == [answer.pk]


def test_what_was_refused_is_counted_with_what_succeeded(store):
    first, second, third, failed = enqueued(store, 4)
    refused(store, first, 30)
    ended(store, second, "succeeded", 20)
    refused(store, third, 10)
    ended(store, failed, "failed", 10)
    keep = Retention({"succeeded": Keep(count=2), "failed": Keep(count=1)})
    assert store.retention.prune(keep) == (1, None)
    assert kept(store) == [second.pk, third.pk, failed.pk]
