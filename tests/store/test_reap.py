"""Burial: what a worker held that is known to be dead is taken back, as its judge says of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from async_attempts.conf import settings as attempts_settings
from async_attempts.lifecycle import FailureKind
from async_attempts.models import Worker
from async_attempts.store import Verdict
from tests.store.sessions import lock_as_a_claim

from .rows import enqueued, every_column, failures, put, registered, row
from .sessions import PATIENCE, wait_until_somebody_waits

CRASH = Verdict(FailureKind.CRASH, "its process was lost")
MARKS_DEAD = ("UPDATE", "async_attempts_worker")


def all_had_begun(_row: Any) -> Verdict:
    return CRASH


def none_had_begun(_row: Any) -> None:
    """Each is given back."""


def only(begun: UUID, verdict: Verdict = CRASH) -> Callable[[Any], Verdict | None]:
    """One had begun."""
    return lambda row: verdict if row.id == begun else None


def test_what_had_begun_counts_a_crash_and_the_rest_counts_nothing(store, worker, claimed):
    begun, unbegun = claimed(2)
    rescue = store.workers.reap(worker.pk, only(begun.id))
    assert rescue == (worker.pk, [begun.id], [], True, 1)
    written = row(store, begun)
    assert (written.state, written.num_attempts, written.num_crashes) == ("pending", 1, 1)
    assert (written.claimed_by, written.error_class) == (None, "WorkerLost")
    written = row(store, unbegun)
    assert (written.state, written.num_attempts, written.num_crashes) == ("pending", 0, 0)
    assert (written.claimed_by, written.started_at, written.claim_seq) == (None, None, 1)
    [failure] = failures(store)
    assert (failure.attempt_id, failure.kind, failure.worker) == (
        begun.id,
        FailureKind.CRASH,
        worker.pk,
    )
    assert failure.message == CRASH.message
    assert store.database.workers.get(pk=worker.pk).state == Worker.State.RESCUED


def test_what_ignored_its_timeout_is_due_by_its_backoff(store, worker, claimed):
    [claim] = claimed()
    late = Verdict(FailureKind.TIMEOUT, "it ignored its timeout", delay=60.0)
    store.workers.reap(worker.pk, only(claim.id, late))
    written = row(store, claim)
    assert (written.status, written.num_crashes) == ("scheduled", 1)
    assert (written.claimed_by, written.error_class) == (None, "AttemptTimeout")
    assert 55 < store.claims.look(["default"]).next_due <= 60


def test_what_has_no_execution_left_fails_and_says_why(store, worker, claimed):
    [claim] = claimed()
    exhausted = Verdict(FailureKind.TIMEOUT, "it ignored its timeout", reason="exhausted: 1 of 1")
    rescue = store.workers.reap(worker.pk, only(claim.id, exhausted))
    assert (rescue.attempt_ids, rescue.failed_ids) == ([claim.id], [claim.id])
    written = row(store, claim)
    assert (written.status, written.reason) == ("failed", "exhausted: 1 of 1")
    assert written.completed_at is not None


def test_what_crashed_too_often_fails_for_good(store, worker, claimed):
    often, seldom = claimed(2)
    put(store, often, num_crashes=attempts_settings().MAX_CRASHES - 1)
    assert store.workers.reap(worker.pk, all_had_begun).failed_ids == [often.id]
    assert [row(store, claim).status for claim in (often, seldom)] == ["failed", "pending"]


def test_what_somebody_asked_to_cancel_expires(store, worker, claimed):
    [claim] = claimed()
    put(store, claim, cancel_requested=True)
    store.workers.reap(worker.pk, all_had_begun)
    assert row(store, claim).status == "expired"


def test_the_judge_is_told_which_claim_it_was(store, worker, claimed):
    [claim] = claimed()
    put(store, claim, claim_seq=7)
    seen = []
    store.workers.reap(worker.pk, lambda row: seen.append((row.id, row.claim_seq)))
    assert seen == [(claim.id, 7)]


def test_only_what_the_dead_worker_held_is_taken(store, worker, claimed):
    [others] = enqueued(store)
    heir = registered(store)
    store.claims.claim(heir.pk, ["default"], 1)
    [mine] = claimed()
    assert store.workers.reap(worker.pk, all_had_begun).attempt_ids == [mine.id]
    assert row(store, others).claimed_by == heir.pk


def test_a_reaped_worker_claims_and_renews_nothing(store, worker, claimed):
    claimed()
    store.workers.reap(worker.pk, none_had_begun)
    assert store.claims.claim(worker.pk, ["default"], 1) == []
    assert not store.workers.renew(worker.pk, 1000)


def test_no_worker_is_reaped_twice_or_without_having_been_live(store, worker, claimed):
    claimed()
    store.workers.reap(worker.pk, all_had_begun)
    before = every_column(store)
    assert store.workers.reap(worker.pk, all_had_begun) is None
    assert store.workers.reap(uuid4(), all_had_begun) is None
    assert every_column(store) == before


def test_a_worker_that_said_goodbye_is_not_reaped(store, worker):
    store.workers.deregister(worker.pk)
    assert store.workers.reap(worker.pk, all_had_begun) is None
    assert store.database.workers.get(pk=worker.pk).state == Worker.State.STOPPED


row_locks = pytest.mark.only(
    "postgresql", "mariadb", reason="SQLite has one writer and no row locks"
)


@row_locks
def test_what_a_transaction_still_holds_is_taken_back_by_the_next_reap(
    store, worker, claimed, sessions
):
    held, free = claimed(2)
    performer = sessions()
    performer.begin()
    assert performer.do(store.outcomes.hold, worker.pk, held)
    rescue = store.workers.reap(worker.pk, all_had_begun)
    assert (rescue.attempt_ids, rescue.is_complete) == ([free.id], False)
    assert row(store, held).state == "running"
    performer.rollback()
    rescue = store.workers.reap(worker.pk, all_had_begun)
    assert (rescue.attempt_ids, rescue.is_complete) == ([held.id], True)


@row_locks
def test_a_claim_that_the_dead_worker_is_still_making_is_waited_for(store, worker, sessions):
    [attempt] = enqueued(store)
    claimer, reaper = sessions(), sessions()
    claimer.begin()
    assert claimer.do(lock_as_a_claim, store, worker.pk)
    reaping = reaper.start(store.workers.reap, worker.pk, all_had_begun)
    wait_until_somebody_waits(store)
    claimer.do(
        store.database.attempts.filter(pk=attempt.pk).update, claimed_by=worker.pk, claim_seq=1
    )
    claimer.commit()
    assert reaping.result(PATIENCE).attempt_ids == [attempt.pk]


def test_a_claim_that_arrives_during_the_reap_gets_nothing(store, worker, sessions):
    [attempt] = enqueued(store)
    reaper, claimer = sessions(), sessions()
    reaping = reaper.start_and_stop_after(MARKS_DEAD, store.workers.reap, worker.pk, all_had_begun)
    claiming = claimer.start(store.claims.claim, worker.pk, ["default"], 1)
    wait_until_somebody_waits(store)
    reaper.go_on()
    assert reaping.result(PATIENCE).attempt_ids == []
    assert claiming.result(PATIENCE) == []
    assert row(store, attempt).state == "pending"
