"""Where a queue keeps no successes, one deletes its row, fenced as the update would be."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings

from async_attempts.lifecycle import Failed, Released, Retried, Succeeded
from async_attempts.models import Worker

from .rows import ERROR, enqueued, every_column, failures, put, registered, row
from .test_fences import LOSSES, deleted, expired_by_a_person, rescued


@pytest.fixture
def unkept(store):
    """The queue "default" keeps no successes; "emails" does."""
    queues = {"default": {"keep": {"succeeded": 0}}, "emails": {}}
    with override_settings(ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | {"QUEUES": queues}):
        yield store


SUCCESSES = [Succeeded(), Succeeded(b"sealed")]


def there(store):
    return set(store.database.attempts.values_list("pk", flat=True))


@pytest.mark.parametrize("outcome", SUCCESSES, ids=["plain", "with result"])
def test_a_success_deletes_its_row(unkept, worker, claimed, outcome):
    claims = claimed(3)
    [waiting] = enqueued(unkept)
    assert unkept.finish(worker.pk, [(claim, outcome) for claim in claims]) == []
    assert there(unkept) == {waiting.pk}


def test_its_failures_go_with_it_and_no_others(unkept, worker, claimed):
    gone, stays = claimed(2)
    unkept.finish(worker.pk, [(claim, Retried(0, ERROR)) for claim in (gone, stays)])
    unkept.promote()
    again = {claim.id: claim for claim in unkept.claim(worker.pk, ["default"], 2)}
    assert len(failures(unkept)) == 2
    assert unkept.finish(worker.pk, [(again[gone.id], Succeeded())]) == []
    assert there(unkept) == {stays.id}
    assert [failure.attempt_id for failure in failures(unkept)] == [stays.id]


def test_a_batch_may_be_of_all_kinds(unkept, worker, claimed):
    plain, result, failed, released = claimed(4)
    [other] = enqueued(unkept, queue="emails")
    [kept] = unkept.claim(worker.pk, ["emails"], 1)
    outcomes = [
        (plain, Succeeded()),
        (result, Succeeded(b"sealed")),
        (failed, Failed("no use", ERROR)),
        (released, Released()),
        (kept, Succeeded()),
    ]
    assert unkept.finish(worker.pk, outcomes) == []
    assert there(unkept) == {failed.id, released.id, other.pk}
    assert row(unkept, kept).status == "succeeded"
    assert row(unkept, failed).status == "failed"


def test_plain_successes_of_several_queues_and_numbers_go_together(unkept, worker, claimed):
    first, second = claimed(2)
    put(unkept, second, claim_seq=2)
    [other] = enqueued(unkept, queue="emails")
    [kept] = unkept.claim(worker.pk, ["emails"], 1)
    claims = [first, second._replace(claim_seq=2), kept]
    assert unkept.finish(worker.pk, [(claim, Succeeded()) for claim in claims]) == []
    assert (there(unkept), row(unkept, kept).status) == ({other.pk}, "succeeded")


@pytest.mark.parametrize("outcome", SUCCESSES, ids=["plain", "with result"])
def test_what_others_wait_for_is_kept(unkept, worker, claimed, outcome):
    needed, unneeded = claimed(2)
    put(unkept, needed, has_dependents=True)
    results = [(needed, outcome), (unneeded, outcome)]
    assert unkept.finish(worker.pk, results) == []
    assert there(unkept) == {needed.id}
    assert row(unkept, needed).status == "succeeded"
    assert unkept.finish(worker.pk, results) == []


def test_what_a_projects_rows_may_refer_to_is_left_to_pruning(unkept, worker, claimed, monkeypatch):
    [claim] = claimed()
    monkeypatch.setitem(unkept.__dict__, "is_referred_to", True)
    assert unkept.finish(worker.pk, [(claim, Succeeded())]) == []
    assert row(unkept, claim).status == "succeeded"


@pytest.mark.parametrize(
    "lose", [lose for lose in LOSSES if lose is not deleted], ids=lambda lose: lose.__name__
)
@pytest.mark.parametrize("outcome", SUCCESSES, ids=["plain", "with result"])
def test_a_lost_claim_deletes_nothing(unkept, worker, claimed, lose, outcome):
    lost, held = claimed(2)
    lose(unkept, worker, lost)
    was_rescued = Worker.objects.using(unkept.alias).get(pk=worker.pk).state != "live"
    before = [one for one in every_column(unkept) if one["id"] == lost.id]
    refused = unkept.finish(worker.pk, [(lost, outcome), (held, outcome)])
    assert refused == ([lost, held] if was_rescued else [lost])
    assert [one for one in every_column(unkept) if one["id"] == lost.id] == before


@pytest.mark.parametrize("outcome", SUCCESSES, ids=["plain", "with result"])
def test_a_success_whose_answer_was_lost_may_be_offered_again(unkept, worker, claimed, outcome):
    gone, lost = claimed(2)
    unkept.finish(worker.pk, [(gone, outcome)])
    expired_by_a_person(unkept, worker, lost)
    assert unkept.finish(worker.pk, [(gone, outcome)]) == []
    assert unkept.finish(worker.pk, [(gone, outcome), (lost, outcome)]) == [lost]


def test_another_outcome_of_what_is_gone_is_refused(unkept, worker, claimed):
    [claim] = claimed()
    unkept.finish(worker.pk, [(claim, Succeeded())])
    for outcome in (Failed("no use", ERROR), Retried(0, ERROR), Released()):
        assert unkept.finish(worker.pk, [(claim, outcome)]) == [claim]


def test_what_another_let_succeed_since_is_not_taken_for_its_own(unkept, worker, claimed):
    [claim] = claimed()
    rescued(unkept, worker, claim)
    heir = registered(unkept)
    [anew] = unkept.claim(heir.pk, ["default"], 1, suspects=True)
    assert unkept.finish(heir.pk, [(anew, Succeeded())]) == []
    assert there(unkept) == set()
    assert unkept.finish(worker.pk, [(claim, Succeeded())]) == [claim]
    assert unkept.finish(heir.pk, [(anew, Succeeded())]) == []


def test_in_a_queue_that_keeps_them_a_row_that_is_gone_is_lost(unkept, worker):
    [attempt] = enqueued(unkept, queue="emails")
    [claim] = unkept.claim(worker.pk, ["emails"], 1)
    deleted(unkept, worker, attempt)
    assert unkept.finish(worker.pk, [(claim, Succeeded())]) == [claim]


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
@pytest.mark.parametrize("outcome", SUCCESSES, ids=["plain", "with result"])
def test_successes_wait_for_nothing_that_runs_atomically(
    unkept, worker, claimed, sessions, outcome
):
    *over, running = claimed(5)
    performing, other = sessions(), sessions()
    performing.begin()
    assert performing.do(unkept.hold, worker.pk, running)
    other.be_impatient()
    assert other.do(unkept.finish, worker.pk, [(claim, outcome) for claim in over]) == []
    assert there(unkept) == {running.id}


def test_within_an_open_transaction_it_goes_with_it(unkept, worker, claimed):
    [claim] = claimed()
    with transaction.atomic(unkept.alias):
        assert unkept.hold(worker.pk, claim)
        assert unkept.finish_within(worker.pk, [(claim, Succeeded())]) == []
        transaction.set_rollback(True, unkept.alias)
    assert row(unkept, claim).state == "running"
    with transaction.atomic(unkept.alias):
        assert unkept.finish_within(worker.pk, [(claim, Succeeded())]) == []
    assert there(unkept) == set()


def test_a_retention_that_keeps_successes_costs_no_statement(
    store, worker, claimed, django_assert_num_queries
):
    results = [(claim, Succeeded()) for claim in claimed(3)]
    # One UPDATE, and on the others whether anything waits, in a transaction.
    number = 1 if store.database.connection.vendor == "postgresql" else 4
    with django_assert_num_queries(number, using=store.database.alias):
        assert store.outcomes.finish(worker.pk, results) == []


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")
@pytest.mark.parametrize("number", [1, 5, 40])
def test_many_are_deleted_while_a_caller_writes_edges_of_others(
    unkept, worker, claimed, sessions, number
):
    [prerequisite] = enqueued(unkept)
    unkept.claim(worker.pk, ["default"], 1)
    claims = claimed(number)
    caller = sessions()
    caller.begin()
    caller.do(enqueued, unkept, depends_on=[prerequisite.pk])
    assert unkept.finish(worker.pk, [(claim, Succeeded()) for claim in claims]) == []
    assert there(unkept) == {prerequisite.pk}


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")
@pytest.mark.parametrize("number", [1, 5, 40])
def test_many_are_deleted_while_another_worker_is_frozen_over_a_failure(
    unkept, worker, claimed, sessions, number
):
    other, *claims = claimed(number + 1)
    unkept.finish(worker.pk, [(claim, Retried(0, ERROR)) for claim in (other, *claims)])
    put(unkept, other, status="waiting")
    unkept.promote()
    claims = unkept.claim(worker.pk, ["default"], number)
    frozen = sessions()
    frozen.begin()
    frozen.do(lambda: unkept.failures.select_for_update().get(attempt_id=other.id))
    assert unkept.finish(worker.pk, [(claim, Succeeded()) for claim in claims]) == []
    assert [failure.attempt_id for failure in failures(unkept)] == [other.id]
