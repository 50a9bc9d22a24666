"""Finish: what an execution came to is recorded, all of a batch or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
from django.db import IntegrityError, transaction

from async_attempts.lifecycle import Expired, Failed, Released, Retried, Snoozed, Succeeded

from .rows import ERROR, every_column, failures, now, put, row
from .sessions import rolled_back

SUCCESSES = [Succeeded(), Succeeded(b"sealed")]
FAILURES = [Retried(60, ERROR), Failed("no use", ERROR)]
OTHERS = [Snoozed(60), Released(), Released(60), Expired("too old")]
OUTCOMES = [*SUCCESSES, *FAILURES, *OTHERS]


def finished(store, worker, claim, outcome):
    """The row after `outcome` of `claim`."""
    assert store.outcomes.finish(worker.pk, [(claim, outcome)]) == []
    return row(store, claim)


@pytest.mark.parametrize("outcome", SUCCESSES, ids=["without result", "with result"])
def test_a_success_is_final_and_says_who_and_when(store, worker, claimed, outcome):
    [claim] = claimed()
    before = now(store)
    written = finished(store, worker, claim, outcome)
    assert (written.status, written.claimed_by) == ("succeeded", worker.pk)
    assert before <= written.completed_at <= now(store)
    assert written.sealed_result == outcome.result
    assert (written.num_attempts, written.started_at) == (1, claim.started_at)
    assert failures(store) == []


def test_a_retry_is_scheduled_by_the_databases_clock_and_nobodys(store, worker, claimed):
    [claim] = claimed()
    before = now(store).timestamp() + 60
    written = finished(store, worker, claim, Retried(60, ERROR))
    assert (written.state, written.claimed_by, written.num_attempts) == ("scheduled", None, 1)
    assert before <= written.scheduled_at.timestamp() <= now(store).timestamp() + 60
    assert (written.error_class, written.completed_at) == (ERROR.error_class, None)


def test_a_snooze_gives_the_count_back_and_keeps_the_claims(store, worker, claimed):
    [claim] = claimed()
    before = now(store).timestamp() + 60
    written = finished(store, worker, claim, Snoozed(60))
    assert (written.state, written.claimed_by) == ("scheduled", None)
    assert (written.num_attempts, written.claim_seq) == (0, 1)
    assert before <= written.scheduled_at.timestamp() <= now(store).timestamp() + 60
    assert failures(store) == []


def test_a_release_gives_back_all_but_the_number_of_claims(store, worker, claimed):
    [claim] = claimed()
    due = row(store, claim).scheduled_at
    written = finished(store, worker, claim, Released())
    assert (written.state, written.claimed_by, written.started_at) == ("pending", None, None)
    assert (written.num_attempts, written.claim_seq, written.scheduled_at) == (0, 1, due)
    assert failures(store) == []
    assert [again.claim_seq for again in store.claims.claim(worker.pk, ["default"], 1)] == [2]


def test_a_release_for_later_is_scheduled(store, worker, claimed):
    [claim] = claimed()
    before = now(store).timestamp() + 60
    written = finished(store, worker, claim, Released(60))
    assert (written.state, written.claimed_by, written.started_at) == ("scheduled", None, None)
    assert written.num_attempts == 0
    assert before <= written.scheduled_at.timestamp() <= now(store).timestamp() + 60


def test_a_failure_for_good_is_final_and_says_why(store, worker, claimed):
    [claim] = claimed()
    written = finished(store, worker, claim, Failed("no use", ERROR))
    assert (written.status, written.claimed_by, written.reason) == ("failed", worker.pk, "no use")
    assert (written.error_class, written.num_attempts) == (ERROR.error_class, 1)
    assert written.completed_at is not None


def test_an_expiry_is_final_and_says_why(store, worker, claimed):
    [claim] = claimed()
    written = finished(store, worker, claim, Expired("too old"))
    assert (written.status, written.claimed_by) == ("expired", worker.pk)
    assert (written.reason, written.num_attempts) == ("too old", 1)
    assert written.completed_at is not None
    assert failures(store) == []


@pytest.mark.parametrize("outcome", FAILURES, ids=["retried", "failed"])
def test_each_execution_that_failed_leaves_one_failure(store, worker, claimed, outcome):
    [claim] = claimed()
    put(store, claim, num_attempts=4)
    claim = claim._replace(num_attempts=4)
    before = now(store)
    finished(store, worker, claim, outcome)
    [failure] = failures(store)
    assert (failure.attempt_id, failure.number, failure.worker) == (claim.id, 4, worker.pk)
    assert (failure.kind, failure.error_class) == (ERROR.kind, ERROR.error_class)
    assert bytes(failure.details) == ERROR.details
    assert failure.started_at == claim.started_at
    assert before <= failure.failed_at <= now(store)


@pytest.mark.parametrize("outcome", [*SUCCESSES, *FAILURES, Snoozed(1)])
def test_an_execution_that_ended_by_itself_clears_the_suspicion(store, worker, claimed, outcome):
    [claim] = claimed()
    put(store, claim, num_crashes=2)
    assert finished(store, worker, claim, outcome).num_crashes == 0


@pytest.mark.parametrize("outcome", [Released(), Released(1)])
def test_what_was_not_begun_stays_suspect(store, worker, claimed, outcome):
    [claim] = claimed()
    put(store, claim, num_crashes=2)
    assert finished(store, worker, claim, outcome).num_crashes == 2


@pytest.mark.parametrize("outcome", [Retried(1, ERROR), Snoozed(1), Released(), Released(1)])
def test_what_was_cancelled_is_expired_instead_of_performed_again(store, worker, claimed, outcome):
    [claim] = claimed()
    put(store, claim, cancel_requested=True)
    written = finished(store, worker, claim, outcome)
    assert (written.state, written.reason) == ("expired", "cancelled while it ran")
    assert written.completed_at is not None


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Succeeded(), "succeeded"),
        (Succeeded(b"r"), "succeeded"),
        (Failed("no use", ERROR), "failed"),
    ],
)
def test_a_cancel_that_came_too_late_changes_no_end(store, worker, claimed, outcome, status):
    [claim] = claimed()
    put(store, claim, cancel_requested=True)
    assert finished(store, worker, claim, outcome).status == status


def test_a_batch_may_hold_every_outcome(store, worker, claimed):
    claims = claimed(len(OUTCOMES))
    assert store.outcomes.finish(worker.pk, list(zip(claims, OUTCOMES, strict=True))) == []
    states = [row(store, claim).state for claim in claims]
    assert states[:4] == ["succeeded", "succeeded", "scheduled", "failed"]
    assert states[4:] == ["scheduled", "pending", "scheduled", "expired"]
    assert {failure.attempt_id for failure in failures(store)} == {claims[2].id, claims[3].id}


def test_a_batch_may_hold_claims_of_different_numbers(store, worker, claimed):
    claims = claimed(3)
    for number, claim in enumerate(claims):
        put(store, claim, claim_seq=number + 1)
    claims = [claim._replace(claim_seq=number + 1) for number, claim in enumerate(claims)]
    assert store.outcomes.finish(worker.pk, [(claim, Succeeded()) for claim in claims]) == []
    assert {row(store, claim).state for claim in claims} == {"succeeded"}


def test_a_batch_is_recorded_whole_or_not_at_all(store, worker, claimed):
    claims = claimed(len(OUTCOMES) + 1)
    before = every_column(store)
    unstorable = Failed("no use", replace(ERROR, kind=cast("str", None)))
    with pytest.raises(IntegrityError):
        store.outcomes.finish(worker.pk, list(zip(claims, [*OUTCOMES, unstorable], strict=True)))
    assert every_column(store) == before
    assert failures(store) == []


def test_an_empty_batch_is_nothing(store, worker, django_assert_num_queries):
    with django_assert_num_queries(0, using=store.database.alias):
        assert store.outcomes.finish(worker.pk, []) == []


@pytest.mark.parametrize("outcome", [Succeeded(), Succeeded(b"result"), Failed("no use", ERROR)])
def test_finishing_is_not_part_of_a_callers_transaction(store, worker, claimed, outcome):
    [claim] = claimed()
    with transaction.atomic(store.database.alias), pytest.raises(RuntimeError):
        store.outcomes.finish(worker.pk, [(claim, outcome)])
    assert row(store, claim).state == "running"


def test_an_atomic_attempt_is_held_and_finished_in_its_own_transaction(store, worker, claimed):
    first, second = claimed(2)
    with transaction.atomic(store.database.alias):
        assert store.outcomes.hold(worker.pk, first)
        assert store.outcomes.finish_within(worker.pk, [(first, Succeeded())]) == []
    with rolled_back(store):
        assert store.outcomes.finish_within(worker.pk, [(second, Succeeded())]) == []
    assert [row(store, claim).state for claim in (first, second)] == ["succeeded", "running"]
