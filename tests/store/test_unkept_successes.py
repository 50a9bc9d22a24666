"""Where a queue keeps no successes, the next pruning deletes them with what belongs to them."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import override_settings

from async_attempts.conf import retention
from async_attempts.lifecycle import Failed, Released, Retried, Succeeded

from .rows import ERROR, enqueued, failures, put, row

SUCCESSES = [Succeeded(), Succeeded(b"sealed")]
either = pytest.mark.parametrize("outcome", SUCCESSES, ids=["plain", "with result"])
row_locks = pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")


@pytest.fixture
def unkept(store):
    """The queue "default" keeps no successes; "emails" does."""
    queues = {"default": {"keep": {"succeeded": 0}}, "emails": {}}
    with override_settings(ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | {"QUEUES": queues}):
        yield store


def finish_and_prune(store, worker, results):
    """Record these; returns what pruning leaves."""
    assert store.outcomes.finish(worker.pk, results) == []
    store.retention.prune(retention())
    return set(store.database.attempts.values_list("pk", flat=True))


@either
def test_a_success_is_recorded_and_pruned(unkept, worker, claimed, outcome):
    claims = claimed(3)
    [waiting] = enqueued(unkept)
    results = [(claim, outcome) for claim in claims]
    assert unkept.outcomes.finish(worker.pk, results) == []
    assert {row(unkept, claim).status for claim in claims} == {"succeeded"}
    # An answer that was lost.
    assert finish_and_prune(unkept, worker, results) == {waiting.pk}


def test_its_failures_go_with_it_and_no_others(unkept, worker, claimed):
    gone, stays = claimed(2)
    unkept.outcomes.finish(worker.pk, [(claim, Retried(0, ERROR)) for claim in (gone, stays)])
    unkept.claims.promote()
    again = {claim.id: claim for claim in unkept.claims.claim(worker.pk, ["default"], 2)}
    assert len(failures(unkept)) == 2
    assert finish_and_prune(unkept, worker, [(again[gone.id], Succeeded())]) == {stays.id}
    assert [failure.attempt_id for failure in failures(unkept)] == [stays.id]


def test_a_batch_may_be_of_all_kinds(unkept, worker, claimed):
    plain, result, failed, released = claimed(4)
    [other] = enqueued(unkept, queue="emails")
    [kept] = unkept.claims.claim(worker.pk, ["emails"], 1)
    outcomes = [
        (plain, Succeeded()),
        (result, Succeeded(b"sealed")),
        (failed, Failed("no use", ERROR)),
        (released, Released()),
        (kept, Succeeded()),
    ]
    assert finish_and_prune(unkept, worker, outcomes) == {failed.id, released.id, other.pk}
    assert row(unkept, kept).status == "succeeded"
    assert row(unkept, failed).status == "failed"


def test_its_token_is_free_again(unkept, worker):
    [attempt] = enqueued(unkept, idempotence_token="once")
    claim = unkept.claims.claim_one(worker.pk, attempt.pk)
    assert finish_and_prune(unkept, worker, [(claim, Succeeded())]) == set()
    assert enqueued(unkept, idempotence_token="once")[0].created


@row_locks
@either
def test_pruning_waits_for_nothing_that_runs_atomically(unkept, worker, claimed, sessions, outcome):
    *over, running = claimed(5)
    performing, other = sessions(), sessions()
    performing.begin()
    assert performing.do(unkept.outcomes.hold, worker.pk, running)
    other.be_impatient()
    results = [(claim, outcome) for claim in over]
    assert other.do(finish_and_prune, unkept, worker, results) == {running.id}


@row_locks
@pytest.mark.parametrize("number", [1, 5, 40])
def test_many_are_deleted_while_a_caller_writes_edges_of_others(
    unkept, worker, claimed, sessions, number
):
    [prerequisite] = enqueued(unkept)
    unkept.claims.claim(worker.pk, ["default"], 1)
    claims = claimed(number)
    caller = sessions()
    caller.begin()
    caller.do(enqueued, unkept, depends_on=[prerequisite.pk])
    results = [(claim, Succeeded()) for claim in claims]
    assert finish_and_prune(unkept, worker, results) == {prerequisite.pk}


@row_locks
@pytest.mark.parametrize("number", [1, 5, 40])
def test_many_are_deleted_while_another_worker_is_frozen_over_a_failure(
    unkept, worker, claimed, sessions, number
):
    other, *claims = claimed(number + 1)
    unkept.outcomes.finish(worker.pk, [(claim, Retried(0, ERROR)) for claim in (other, *claims)])
    put(unkept, other, status="waiting")
    unkept.claims.promote()
    claims = unkept.claims.claim(worker.pk, ["default"], number)
    frozen = sessions()
    frozen.begin()
    frozen.do(lambda: unkept.database.failures.select_for_update().get(attempt_id=other.id))
    finish_and_prune(unkept, worker, [(claim, Succeeded()) for claim in claims])
    assert [failure.attempt_id for failure in failures(unkept)] == [other.id]


def test_a_retention_that_keeps_successes_costs_no_statement(
    store, worker, claimed, django_assert_num_queries
):
    results = [(claim, Succeeded()) for claim in claimed(3)]
    # One UPDATE, and on the others whether anything waits, in a transaction.
    number = 1 if store.database.connection.vendor == "postgresql" else 4
    with django_assert_num_queries(number, using=store.database.alias):
        assert store.outcomes.finish(worker.pk, results) == []
