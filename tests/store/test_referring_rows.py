"""A project's row that refers to an attempt, in an open transaction, is in no worker's way."""

from __future__ import annotations

import pytest
from django.db import transaction

from async_attempts.lifecycle import Expired, Failed, Released, Retried, Succeeded
from async_attempts.models import Attempt
from async_attempts.store import ProgressReport

from .rows import ERROR, enqueued, let_lease_run_out, put, row

pytestmark = pytest.mark.only("postgresql", reason="the others have no such lock")

OUTCOMES = {
    "success": Succeeded(),
    "success with a result": Succeeded(b"sealed"),
    "retry": Retried(60, ERROR),
    "failure": Failed("no use", ERROR),
    "release": Released(),
    "expiry": Expired("too old"),
}


@pytest.fixture
def refer(sessions):
    """Does what the check of a foreign key does, for all attempts."""

    def refer():
        project = sessions()
        project.begin()
        project.execute(f"SELECT 1 FROM {Attempt._meta.db_table} WHERE status <> '' FOR KEY SHARE")

    return refer


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES)
def test_every_outcome_is_recorded(store, worker, claimed, refer, outcome):
    [claim] = claimed()
    refer()
    unrecorded = store.outcomes.finish(worker.pk, [(claim, outcome)])
    assert (unrecorded, unrecorded.locked) == ([], [])
    assert row(store, claim).state != "running"


def test_an_atomic_attempt_is_begun(store, worker, claimed, refer):
    """Else it would be given back and claimed again, and again, until that transaction ends."""
    [claim] = claimed()
    refer()
    with transaction.atomic(store.database.alias):
        assert store.outcomes.hold(worker.pk, claim)


def test_its_progress_is_written(store, claimed, refer):
    said = [ProgressReport(claim, 10, "far") for claim in claimed()]
    refer()
    assert store.progress.write(said) == (said, [])


def test_unknown_claims_are_given_back(store, worker, claimed, refer):
    claimed()
    refer()
    assert store.claims.release_unknown(worker.pk)


def test_what_a_dead_worker_held_is_taken_back(store, worker, claimed, refer):
    [claim] = claimed()
    refer()
    let_lease_run_out(store, worker)
    [rescue] = store.workers.rescue()
    assert (rescue.attempt_ids, rescue.is_complete) == ([claim.id], True)


def test_the_next_of_its_key_is_woken(store, worker, refer):
    enqueued(store, 2, limit_key="k")
    [first] = store.claims.claim(worker.pk, ["default"], 2)
    refer()
    assert store.outcomes.finish(worker.pk, [(first, Succeeded())]) == []
    assert store.limits.unpark(["k"]) == 1


def test_what_is_overdue_is_expired(store, refer):
    [attempt] = enqueued(store)
    put(store, attempt, expires_at=attempt.created_at)
    refer()
    assert store.retention.expire_overdue() == [attempt.pk]


def test_people_can_end_it(store, refer):
    [attempt] = enqueued(store)
    refer()
    assert store.database.attempts.filter(pk=attempt.pk).expire("by hand").changed == 1
