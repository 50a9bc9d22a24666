"""Claim: a worker takes the best of what is due, and the claim is committed before all else."""

from __future__ import annotations

import unittest
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django import test
from django.db import transaction
from django.test.utils import CaptureQueriesContext

from async_attempts.lifecycle import Succeeded
from async_attempts.models import DatabaseNow
from async_attempts.store.expressions import seconds_from_now

from .rows import claim_of, enqueued, now, put, registered, row

HOUR = timedelta(hours=1)


def claimed_ids(store, worker, *, queues=("default",), limit=100, **options):
    return [claim.id for claim in store.claims.claim(worker.pk, queues, limit, **options)]


def test_the_next_is_of_the_highest_priority_then_the_earliest_then_the_lowest_id(store, worker):
    last, second, third, first = enqueued(store, 4)
    put(store, first, priority=5)
    put(store, second, scheduled_at=seconds_from_now(-20))
    put(store, third, scheduled_at=seconds_from_now(-10))
    same = row(store, last).scheduled_at
    [later_id] = enqueued(store)
    put(store, later_id, scheduled_at=same)
    expected = [first.pk, second.pk, third.pk, last.pk, later_id.pk]
    assert [claimed_ids(store, worker, limit=1)[0] for _ in expected] == expected


def test_a_batch_comes_in_the_order_in_which_single_claims_would(store, worker):
    attempts = enqueued(store, 9)
    for number, attempt in enumerate(attempts):
        put(store, attempt, priority=number % 3, scheduled_at=seconds_from_now(-number))
    best_first = store.database.attempts.order_by("-priority", "scheduled_at", "id")
    expected = [attempt.pk for attempt in best_first]
    assert claimed_ids(store, worker) == expected


@pytest.mark.only("postgresql", reason="RETURNING promises no order")
def test_a_batch_is_in_order_whatever_the_plan(store, worker):
    attempts = enqueued(store, 9)
    for number, attempt in enumerate(attempts):
        put(store, attempt, priority=number % 3)
    expected = list(
        store.database.attempts.order_by("-priority", "id").values_list("pk", flat=True)
    )
    with store.database.connection.cursor() as cursor:
        for scan in ("indexscan", "bitmapscan"):
            cursor.execute(f"SET enable_{scan} = off")
        claimed = claimed_ids(store, worker)
        for scan in ("indexscan", "bitmapscan"):
            cursor.execute(f"RESET enable_{scan}")
    assert claimed == expected


def test_at_most_the_limit_is_claimed_over_all_queues(store, worker):
    enqueued(store, 3)
    enqueued(store, 3, queue="emails")
    assert len(claimed_ids(store, worker, queues=["default", "emails"], limit=4)) == 4
    assert store.database.attempts.filter(claimed_by=worker.pk).count() == 4


def test_the_first_queue_goes_before_the_second_whatever_the_priorities(store, worker):
    [urgent] = enqueued(store, queue="emails", priority=100)
    [first] = enqueued(store, queue="default", priority=-100)
    [other] = enqueued(store, queue="fulfilment")
    assert claimed_ids(store, worker, queues=["default", "emails"]) == [first.pk, urgent.pk]
    assert row(store, other).state == "pending"


def test_what_is_pending_for_a_later_time_is_left(store, worker):
    [attempt] = enqueued(store)
    put(store, attempt, scheduled_at=seconds_from_now(3600))
    assert claimed_ids(store, worker) == []
    assert store.claims.claim_one(worker.pk, attempt.pk) is None


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides_what_is_due_and_when_it_was_claimed(store, worker):
    [attempt] = enqueued(store)
    put(store, attempt, scheduled_at=datetime.now(UTC) + HOUR / 2)
    assert claimed_ids(store, worker) == [attempt.pk]
    assert row(store, attempt).started_at > datetime.now(UTC) + HOUR / 2


def test_a_claim_is_counted_and_signed(store, worker):
    [attempt] = enqueued(store)
    put(store, attempt, num_attempts=2, claim_seq=5)
    before = now(store)
    [claim] = store.claims.claim(worker.pk, ["default"], 1)
    written = row(store, attempt)
    assert (written.state, written.claimed_by) == ("running", worker.pk)
    assert (written.num_attempts, written.claim_seq) == (3, 6)
    assert before <= written.started_at <= now(store)
    assert (claim.num_attempts, claim.claim_seq) == (3, 6)
    assert claim.started_at == written.started_at


def test_a_claim_carries_all_that_is_needed_to_perform(store, worker):
    options: dict[str, Any] = {
        "max_attempts": 4,
        "timeout": 1.5,
        "keep_result": True,
        "metadata": {"a": [1]},
    }
    [attempt] = enqueued(store, idempotence_token="t", **options)
    [claim] = store.claims.claim(worker.pk, ["default"], 1)
    written = row(store, attempt)
    same = claim_of(store, attempt)
    assert claim.metadata == same.metadata
    same = same._replace(metadata_json=claim.metadata_json, waited=claim.waited)
    assert claim._replace(claimed_at=0.0) == same
    assert {name: getattr(claim, name) for name in options} == options
    assert (claim.queue, claim.idempotency_key, claim.database) == (
        "default",
        "t",
        store.database.alias,
    )
    assert claim.context("args").associated_data() == written.context("args").associated_data()
    assert bytes(claim.args) == bytes(written.args)


def test_what_is_claimed_is_not_claimed_again(store, worker):
    [attempt] = enqueued(store)
    assert claimed_ids(store, worker) == [attempt.pk]
    assert claimed_ids(store, registered(store)) == []
    assert store.claims.claim_one(worker.pk, attempt.pk) is None


@pytest.mark.parametrize("state", ["stopped", "dead", "rescued"])
def test_a_worker_that_is_not_live_claims_nothing(store, worker, state):
    [attempt] = enqueued(store)
    store.database.workers.filter(pk=worker.pk).update(state=state)
    assert claimed_ids(store, worker) == []
    assert store.claims.claim_one(worker.pk, attempt.pk) is None
    assert row(store, attempt).state == "pending"


def test_a_worker_that_never_registered_claims_nothing(store):
    [attempt] = enqueued(store)
    assert store.claims.claim(uuid4(), ["default"], 1) == []
    assert row(store, attempt).state == "pending"


def test_suspects_are_left_by_ordinary_claims_and_taken_by_those_who_ask(store, worker):
    suspect, other, another_suspect = enqueued(store, 3)
    for crashed in (suspect, another_suspect):
        put(store, crashed, num_crashes=1)
    assert claimed_ids(store, worker) == [other.pk]
    assert claimed_ids(store, worker, limit=1, suspects=True) == [suspect.pk]
    assert claimed_ids(store, worker, limit=1, suspects=True) == [another_suspect.pk]


def test_those_who_ask_for_suspects_get_nothing_else(store, worker):
    enqueued(store)
    assert claimed_ids(store, worker, suspects=True) == []


def test_what_is_claimed_too_late_is_expired_and_its_count_given_back(store, worker):
    late, in_time = enqueued(store, 2, expires_at=HOUR)
    put(store, late, expires_at=DatabaseNow())
    assert claimed_ids(store, worker) == [in_time.pk]
    written = row(store, late)
    assert (written.state, written.reason) == ("expired", "not begun before its expires_at")
    assert (written.num_attempts, written.claim_seq) == (0, 1)
    assert written.completed_at is not None


def test_one_attempt_can_be_claimed_by_its_id_suspect_or_not(store, worker):
    other, wanted = enqueued(store, 2)
    put(store, wanted, num_crashes=1)
    claim = store.claims.claim_one(worker.pk, wanted.pk)
    assert (claim.id, claim.num_attempts) == (wanted.pk, 1)
    assert row(store, other).state == "pending"


def test_one_attempt_that_is_claimed_too_late_is_expired(store, worker):
    [late] = enqueued(store, expires_at=timedelta(seconds=-1))
    assert store.claims.claim_one(worker.pk, late.pk) is None
    assert row(store, late).state == "expired"


def test_a_claim_is_committed_when_it_is_given_back(store, worker, sessions):
    [attempt] = enqueued(store)
    assert claimed_ids(store, worker) == [attempt.pk]
    assert not store.database.connection.in_atomic_block
    seen = sessions().do(row, store, attempt)
    assert (seen.state, seen.num_attempts) == ("running", 1)


def test_a_claim_is_not_part_of_a_callers_transaction(store, worker):
    [attempt] = enqueued(store)
    with transaction.atomic(store.database.alias):
        with pytest.raises(RuntimeError):
            store.claims.claim(worker.pk, ["default"], 1)
        with pytest.raises(RuntimeError):
            store.claims.claim_one(worker.pk, attempt.pk)
    assert row(store, attempt).state == "pending"


def test_a_worker_works_within_a_testcase(store):
    ended = []

    class Work(test.TestCase):
        databases = {store.database.alias}  # noqa: RUF012 as Django has it

        def test_a_worker(self):
            worker = registered(store)
            [attempt] = enqueued(store)
            [claim] = store.claims.claim(worker.pk, ["default"], 1)
            assert store.outcomes.finish(worker.pk, [(claim, Succeeded())]) == []
            ended.append(row(store, attempt).state)
            with transaction.atomic(store.database.alias), pytest.raises(RuntimeError):
                store.claims.claim(worker.pk, ["default"], 1)

    result = unittest.TestResult()
    unittest.TestSuite([Work("test_a_worker")]).run(result)
    assert (result.errors, result.failures, ended) == ([], [], ["succeeded"])
    assert not store.database.attempts.exists()


@pytest.mark.only("postgresql", reason="a claim of one statement")
def test_a_claim_on_postgresql_is_one_statement_without_a_transaction_around(store, worker):
    enqueued(store)
    with CaptureQueriesContext(store.database.connection) as queries:
        claimed_ids(store, worker)
    assert len(queries) == 1


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_a_row_that_somebody_has_locked_is_skipped(store, worker, sessions):
    locked, free = enqueued(store, 2)
    other = sessions()
    other.begin()
    other.do(lambda: list(store.database.attempts.filter(pk=locked.pk).select_for_update()))
    assert claimed_ids(store, worker) == [free.pk]
    other.rollback()
    assert claimed_ids(store, worker) == [locked.pk]
