"""Targets that are called at most once, whatever happens to their workers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from async_attempts import Attempt
from async_attempts.models import DatabaseNow, Failure
from async_attempts.store import store_for
from async_attempts.targets import decorator, target
from async_attempts.worker.execution import runner
from async_attempts.worker.execution.announcer import AtOnce
from async_attempts.worker.processes.reaper import ChildExit, _take_back
from async_attempts.worker.shared.shared_memory import Begun
from tests.shop import effects, once
from tests.worker.helpers.attempts import (
    drain,
    enqueued,
    failures,
    make_due,
    performed,
    put,
    raising,
    stored,
)


@pytest.fixture
def called(acting):
    """What the targets were called with."""
    called: list[tuple[object, ...]] = []
    acting(lambda *args: called.append(args))
    return called


def suspect(database, function, **columns):
    """An attempt that one worker has died of, which didn't know its target."""
    attempt = enqueued(database, function, 1)
    put(attempt, num_crashes=1, num_attempts=1, **columns)
    return attempt


def test_a_suspect_fails_before_its_target_is_called(database, called):
    attempt = suspect(database, once.act_once)
    drain(database)
    written = stored(attempt)
    assert (written.status, called) == ("failed", [])
    assert written.reason.startswith("its worker was lost once while it was in flight; it is not")
    [failure] = failures(attempt)
    assert (failure.kind, failure.error_class) == ("crash", "async_attempts.exceptions.WorkerLost")


def test_an_async_one_does_so_too(database, called):
    attempt = suspect(database, once.act_once_asynchronously)
    drain(database)
    assert (stored(attempt).status, called) == ("failed", [])


def test_nobody_performs_it_by_hand_either(database, called):
    attempt = suspect(database, once.act_once)
    stored(attempt).perform()
    assert (stored(attempt).status, called) == ("failed", [])


def test_other_suspects_are_performed_again(database, called):
    attempt = suspect(database, effects.act)
    drain(database)
    assert (stored(attempt).status, called) == ("succeeded", [(1,)])


def test_what_a_lost_worker_had_only_claimed_is_called(database, called):
    attempt = enqueued(database, once.act_once, 1)
    put(attempt, num_crashes=1)
    drain(database)
    assert (stored(attempt).status, called) == ("succeeded", [(1,)])


def test_a_worker_without_the_code_leaves_it_a_suspect(database, called, monkeypatch):
    attempt = suspect(database, once.act_once, max_attempts=9)
    lost = {"number": 1, "kind": "crash", "details": b"", "failed_at": DatabaseNow()}
    Failure.objects.using(database).create(attempt_id=attempt.pk, **lost)
    with monkeypatch.context() as older:
        older.delattr(once, "act_once")
        older.setattr(decorator, "_policies", {})
        older.setattr(target, "_targets", {})
        drain(database)
        assert (stored(attempt).status, stored(attempt).num_crashes) == ("scheduled", 1)
    make_due(attempt)
    drain(database)
    assert (stored(attempt).status, called) == ("failed", [])


def test_a_person_s_retry_calls_it(database, called):
    attempt = suspect(database, once.act_once)
    drain(database)
    stored(attempt).retry()
    drain(database)
    assert (stored(attempt).status, called) == ("succeeded", [(1,)])


def test_what_it_raises_is_not_retried(database, acting):
    acting(raising(ValueError()))
    assert performed(database, once.act_once).status == "failed"


@pytest.mark.parametrize(
    ("function", "status"), [(once.act_once, "failed"), (effects.act, "scheduled")]
)
def test_an_outcome_that_the_worker_itself_loses_is_not_made_up_for(
    database, called, monkeypatch, function, status
):
    def broken(*args, **kwargs):
        raise RuntimeError("in the worker")

    monkeypatch.setattr(runner.Runner, "_begin", broken)
    attempt = performed(database, function, 1)
    assert attempt.status == status


def lost(database, function, *, timed_out=False, is_blameless=False):
    """An attempt that had begun in a child that was ended for another reason, taken back."""
    attempt = enqueued(database, function, 1)
    store = store_for(database)
    lease = timezone.now() + timedelta(hours=1)
    worker = store.database.workers.create(host="web-1", pid=7, lease=lease)
    [claim] = store.claims.claim(worker.pk, [attempt.queue], 1)
    begun = (Begun(claim.id, claim.claim_seq, 0.0),)
    others = frozenset({worker.pk}) if timed_out else frozenset()
    child_exit = ChildExit(worker.pk, "killed", begun, others, is_blameless)
    assert _take_back(store, child_exit, AtOnce()) == 0
    return Attempt._base_manager.using(database).get(pk=attempt.pk)


@pytest.fixture
def unknown_here(monkeypatch):
    """As in a supervisor: its children alone have imported the targets."""
    monkeypatch.setattr(decorator, "_policies", {})
    monkeypatch.setattr(target, "_targets", {})


@pytest.mark.usefixtures("unknown_here")
@pytest.mark.parametrize("why", [{"timed_out": True}, {"is_blameless": True}])
def test_what_had_begun_fails_though_it_is_not_to_blame(database, why):
    attempt = lost(database, once.act_once, **why)
    assert (attempt.status, attempt.error_class) == ("failed", "WorkerLost")


@pytest.mark.usefixtures("unknown_here")
@pytest.mark.parametrize("why", [{"timed_out": True}, {"is_blameless": True}])
def test_others_that_are_not_to_blame_are_released(database, why):
    attempt = lost(database, effects.act, **why)
    assert (attempt.state, attempt.num_crashes, attempt.num_attempts) == ("pending", 0, 0)


@pytest.mark.usefixtures("unknown_here")
def test_what_is_not_to_blame_and_not_known_is_judged_when_it_is(database, called, monkeypatch):
    attempt = enqueued(database, once.act_once, 1)
    with monkeypatch.context() as older:
        older.delattr(once, "act_once")
        older.setattr(target, "_targets", {})
        store = store_for(database)
        lease = timezone.now() + timedelta(hours=1)
        worker = store.database.workers.create(host="web-1", pid=7, lease=lease)
        [claim] = store.claims.claim(worker.pk, [attempt.queue], 1)
        begun = (Begun(claim.id, claim.claim_seq, 0.0),)
        _take_back(store, ChildExit(worker.pk, "killed", begun, is_blameless=True), AtOnce())
    assert stored(attempt).num_crashes == 1
    drain(database)
    assert (stored(attempt).status, called) == ("failed", [])


def test_one_that_was_claimed_only_is_called_though_it_had_failed_before(database, acting):
    acting(raising(ValueError("once more")))
    attempt = enqueued(database, once.act_after_crashes, 1)
    drain(database)
    assert stored(attempt).num_attempts == 1
    # What a rescue leaves of a claim that was lost before it began.
    put(attempt, num_crashes=1, status="pending", scheduled_at=DatabaseNow())
    called: list[object] = []
    acting(called.append)
    drain(database)
    assert (stored(attempt).status, called) == ("succeeded", [1])
