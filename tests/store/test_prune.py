"""Prune: what ended long enough ago is deleted, with its failures."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import transaction

from async_attempts.lifecycle import Failed
from async_attempts.store.rows import seconds_from_now

from .rows import ERROR, enqueued, failures, one_in_each_state, put, row

ALL_AT_ONCE = {"succeeded": 0.0, "failed": 0.0, "expired": 0.0}


def ended(store, attempt, status, seconds_ago):
    put(store, attempt, status=status, completed_at=seconds_from_now(-seconds_ago))


def kept(store):
    return list(store.attempts.order_by("pk").values_list("pk", flat=True))


@pytest.mark.parametrize("status", ["succeeded", "failed", "expired"])
def test_each_final_status_has_its_own_age(store, status):
    old, young, other = enqueued(store, 3)
    keep = {"succeeded": 5.0, "failed": 5.0, "expired": 5.0, status: 1000.0}
    ended(store, old, status, 2000)
    ended(store, young, status, 500)
    ended(store, other, "expired" if status != "expired" else "failed", 500)
    assert store.prune(keep) == (2, None)
    assert kept(store) == [young.pk]


@pytest.mark.parametrize("status", ["succeeded", "failed", "expired"])
def test_none_keeps_for_ever(store, status):
    [attempt] = enqueued(store)
    ended(store, attempt, status, 10**9)
    assert store.prune({status: None}) == (0, None)
    assert store.prune({}) == (0, None)
    assert kept(store) == [attempt.pk]


def test_what_has_not_ended_is_kept(store, worker):
    attempts = one_in_each_state(store, worker)
    for attempt in attempts.values():
        put(store, attempt, scheduled_at=seconds_from_now(-(10**6)))
    for status in ALL_AT_ONCE:
        ended(store, attempts[status], status, 1)
    keep = {**ALL_AT_ONCE, "pending": 0.0, "scheduled": 0.0, "waiting": 0.0}
    assert store.prune(keep) == (3, None)
    assert set(kept(store)) == {attempts[s].pk for s in "scheduled pending waiting running".split()}


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides_what_is_old(store):
    [attempt] = enqueued(store)
    put(store, attempt, status="succeeded", completed_at=datetime.now(UTC))
    assert store.prune({"succeeded": 3650.0}) == (0, None)
    assert store.prune({"succeeded": 3550.0}) == (1, None)


def test_its_failures_go_with_it(store, worker, claimed):
    gone, stays = claimed(2)
    store.finish(worker.pk, [(claim, Failed("no use", ERROR)) for claim in (gone, stays)])
    ended(store, gone, "failed", 60)
    assert store.prune({"failed": 30.0}) == (1, None)
    assert [failure.attempt_id for failure in failures(store)] == [stays.id]
    assert row(store, stays).status == "failed"


def test_a_walk_goes_on_where_it_stopped(store):
    attempts = enqueued(store, 5)
    for attempt in (attempts[1], attempts[4]):
        ended(store, attempt, "succeeded", 60)
    assert store.prune(ALL_AT_ONCE, limit=2) == (1, attempts[1].pk)
    assert store.prune(ALL_AT_ONCE, limit=2, after=attempts[1].pk) == (0, attempts[3].pk)
    assert store.prune(ALL_AT_ONCE, limit=2, after=attempts[3].pk) == (1, None)
    assert kept(store) == [attempts[0].pk, attempts[2].pk, attempts[3].pk]


def test_a_walk_over_nothing_is_at_its_end(store):
    assert store.prune(ALL_AT_ONCE) == (0, None)


def test_pruning_is_not_part_of_a_callers_transaction(store):
    with transaction.atomic(store.alias), pytest.raises(RuntimeError):
        store.prune(ALL_AT_ONCE)


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_what_somebody_is_retrying_is_left(store, sessions):
    held, free = enqueued(store, 2)
    for attempt in (held, free):
        ended(store, attempt, "failed", 60)
    other = sessions()
    other.begin()
    other.do(held.retry)
    assert store.prune(ALL_AT_ONCE) == (1, None)
    other.commit()
    assert row(store, held).state == "pending"


def test_where_a_project_refers_to_attempts_django_deletes(store, worker, claimed, monkeypatch):
    [claim] = claimed(1)
    store.finish(worker.pk, [(claim, Failed("no use", ERROR))])
    ended(store, claim, "failed", 60)
    monkeypatch.setitem(store.__dict__, "_is_referred_to", True)
    assert store.prune({"failed": 30.0}) == (1, None)
    assert (kept(store), list(failures(store))) == ([], [])
