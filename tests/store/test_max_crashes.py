"""How many workers may die while an attempt is in flight: its target says, else its queue."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import override_settings

from async_attempts import call
from async_attempts.conf import settings
from async_attempts.lifecycle import FailureKind, Retried
from async_attempts.store import Verdict
from async_attempts.targets import decorator, target
from tests.shop import clients, once

from .rows import ERROR, failures, let_lease_run_out, put, row

pytestmark = pytest.mark.usefixtures("database")
CRASH = Verdict(FailureKind.CRASH, "lost")
UNBEGUN = Verdict(FailureKind.CRASH, "lost", has_begun=False)


@pytest.fixture
def claim_of(store, worker):
    """Enqueues an attempt of a target, and claims it for `worker`."""

    def claim_of(function):
        call(function, 1).using(database=store.database.alias).enqueue()
        [claim] = store.claims.claim(worker.pk, ["default"], 1)
        return claim

    return claim_of


def test_what_may_begin_once_fails_with_its_worker(store, worker, claim_of):
    claim = claim_of(once.act_once)
    let_lease_run_out(store, worker)
    [rescue] = store.workers.rescue()
    written = row(store, claim)
    assert rescue.failed_ids == [claim.id]
    assert (written.status, written.num_crashes) == ("failed", 1)
    assert written.reason == "its worker was lost once while it was in flight"
    [failure] = failures(store)
    assert failure.kind == "lease"


def test_a_queue_says_it_for_targets_that_say_nothing(store, worker, claim_of):
    queues = {"default": {"defaults": {"max_crashes": 2}}}
    with override_settings(ASYNC_ATTEMPTS={"QUEUES": queues, "KEYS": settings().KEYS}):
        claim = claim_of(clients.greet)
        put(store, claim, num_crashes=1)
        store.workers.reap(worker.pk, lambda _row: CRASH)
    assert row(store, claim).status == "failed"


def test_what_was_only_claimed_may_begin_later(store, worker, claim_of):
    claim = claim_of(once.act_once)
    store.workers.reap(worker.pk, lambda _row: UNBEGUN)
    written = row(store, claim)
    assert (written.state, written.num_crashes, written.num_attempts) == ("pending", 1, 0)


def test_who_does_not_know_the_target_leaves_a_suspect(store, worker, claim_of, monkeypatch):
    claim = claim_of(once.act_once)
    monkeypatch.setattr(decorator, "_policies", {})
    monkeypatch.setattr(target, "_targets", {})
    store.workers.reap(worker.pk, lambda _row: CRASH)
    written = row(store, claim)
    assert (written.state, written.num_crashes, written.num_attempts) == ("pending", 1, 1)


@pytest.mark.parametrize(("was_called", "crashes"), [(True, 0), (False, 1)])
def test_a_suspect_remains_one_until_its_target_was_called(
    store, worker, claim_of, was_called, crashes
):
    claim = claim_of(once.act_once)
    put(store, claim, num_crashes=1)
    store.outcomes.finish(worker.pk, [(claim, Retried(60, ERROR, was_called=was_called))])
    written = row(store, claim)
    assert (written.status, written.num_crashes) == ("scheduled", crashes)
    assert written.scheduled_at - written.created_at > timedelta(seconds=50)
