"""The fence: an outcome counts only while the claim that it belongs to is the current one."""

from __future__ import annotations

import pytest
from django.db import transaction

from async_attempts.lifecycle import Expired, Failed, Released, Retried, Snoozed, Succeeded

from .rows import ERROR, claim_of, every_column, failures, let_lease_run_out, registered, row

OUTCOMES = [
    Succeeded(),
    Succeeded(b"result"),
    Retried(60, ERROR),
    Snoozed(60),
    Released(),
    Released(60),
    Failed("no use", ERROR),
    Expired("too old"),
]


def claimed_again(store, worker, claim):
    store.outcomes.finish(worker.pk, [(claim, Released())])
    store.claims.claim(worker.pk, ["default"], 1)


def claimed_by_another_worker(store, worker, claim):
    store.outcomes.finish(worker.pk, [(claim, Released())])
    store.claims.claim(registered(store).pk, ["default"], 1)


def given_to_another_worker_under_the_same_number(store, worker, claim):
    store.database.attempts.filter(pk=claim.id).update(claimed_by=registered(store).pk)


def expired_by_a_person(store, worker, claim):
    store.changes.expire(store.database.attempts.filter(pk=claim.id), "not any more")


def failed_by_a_person(store, worker, claim):
    store.changes.fail(store.database.attempts.filter(pk=claim.id), "enough")


def rescued(store, worker, claim):
    let_lease_run_out(store, worker)
    store.workers.rescue()


def deleted(store, worker, claim):
    store.database.attempts.filter(pk=claim.id).delete()


LOSSES = [
    claimed_again,
    claimed_by_another_worker,
    given_to_another_worker_under_the_same_number,
    expired_by_a_person,
    failed_by_a_person,
    rescued,
    deleted,
]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_no_outcome_of_a_lost_claim_changes_anything(store, worker, claimed, lose):
    [claim] = claimed()
    lose(store, worker, claim)
    before, failures_before = every_column(store), len(failures(store))
    for outcome in OUTCOMES:
        assert store.outcomes.finish(worker.pk, [(claim, outcome)]) == [claim], outcome
    assert every_column(store) == before
    assert len(failures(store)) == failures_before


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_a_lost_claim_cannot_be_held(store, worker, claimed, lose):
    [claim] = claimed()
    lose(store, worker, claim)
    with transaction.atomic(store.database.alias):
        assert not store.outcomes.hold(worker.pk, claim)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_the_others_of_a_batch_are_recorded_all_the_same(store, worker, claimed, outcome):
    first, lost, last = claimed(3)
    expired_by_a_person(store, worker, lost)
    results = [(first, outcome), (lost, outcome), (last, outcome)]
    assert store.outcomes.finish(worker.pk, results) == [lost]
    assert (row(store, lost).state, row(store, lost).reason) == ("expired", "not any more")
    assert "running" not in {row(store, first).state, row(store, last).state}
    assert lost.id not in {failure.attempt_id for failure in failures(store)}


@pytest.mark.parametrize("outcome", [Succeeded(), Succeeded(b"r"), Retried(0, ERROR), Snoozed(0)])
def test_an_outcome_may_be_offered_again_and_is_recorded_once(store, worker, claimed, outcome):
    [claim] = claimed()
    assert store.outcomes.finish(worker.pk, [(claim, outcome)]) == []
    recorded = every_column(store), failures(store)
    assert store.outcomes.finish(worker.pk, [(claim, outcome)]) == []
    assert (every_column(store), failures(store)) == recorded


@pytest.mark.parametrize("first", [Succeeded(), Retried(0, ERROR), Failed("no use", ERROR)])
@pytest.mark.parametrize("second", [Succeeded(), Retried(0, ERROR), Failed("no use", ERROR)])
def test_another_outcome_than_the_recorded_one_is_refused(store, worker, claimed, first, second):
    [claim] = claimed()
    store.outcomes.finish(worker.pk, [(claim, first)])
    recorded = every_column(store), failures(store)
    refused = store.outcomes.finish(worker.pk, [(claim, second)]) == [claim]
    assert refused == (first != second or isinstance(second, Failed))
    assert (every_column(store), failures(store)) == recorded


def test_a_rescued_worker_that_still_lives_may_offer_what_was_claimed_anew(store, worker, claimed):
    [claim] = claimed()
    rescued(store, worker, claim)
    heir = registered(store)
    [anew] = store.claims.claim(heir.pk, ["default"], 1, suspects=True)
    assert store.outcomes.finish(worker.pk, [(claim, Succeeded())]) == [claim]
    assert store.outcomes.finish(heir.pk, [(anew, Succeeded())]) == []
    assert (row(store, claim).claimed_by, claim_of(store, claim).claim_seq) == (heir.pk, 2)
