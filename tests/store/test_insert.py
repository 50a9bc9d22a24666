"""Enqueue: a row in the caller's transaction, due by the database's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test.utils import CaptureQueriesContext

from async_attempts import Attempt, DuplicateAttempt, call
from async_attempts.retention import Keep, Retention
from async_attempts.signals import enqueued as enqueued_signal
from async_attempts.store import store_for
from tests.shop import clients

from .rows import enqueued, now, put, row
from .sessions import rolled_back

MINUTES_30 = timedelta(minutes=30)


def new(database, **options):
    return call(clients.greet, 1).using(database=database, **options).attempt()


def test_an_attempt_without_a_time_is_pending_from_now(store, worker):
    before = now(store)
    [attempt] = enqueued(store)
    written = row(store, attempt)
    assert written.state == "pending"
    assert before <= written.scheduled_at <= written.created_at <= now(store)


def test_a_new_attempt_has_no_history(store):
    [attempt] = enqueued(store)
    written = row(store, attempt)
    assert (written.num_attempts, written.num_crashes, written.claim_seq) == (0, 0, 0)
    assert (written.claimed_by, written.started_at, written.completed_at) == (None, None, None)


def test_an_attempt_for_later_is_scheduled(store):
    later = datetime.now(UTC) + timedelta(days=1)
    [attempt] = enqueued(store, scheduled_at=later)
    written = row(store, attempt)
    assert (written.state, written.scheduled_at) == ("scheduled", later)


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides_whether_a_time_is_past(store):
    soon = datetime.now(UTC) + MINUTES_30
    [attempt] = enqueued(store, scheduled_at=soon)
    assert (row(store, attempt).state, row(store, attempt).scheduled_at) == ("pending", soon)


@pytest.mark.usefixtures("an_hour_ahead")
def test_a_delay_counts_from_the_databases_now(store, worker):
    before = now(store)
    [attempt] = enqueued(store, scheduled_at=MINUTES_30, expires_at=2 * MINUTES_30)
    written, after = row(store, attempt), now(store)
    assert before > datetime.now(UTC) + MINUTES_30
    assert written.state == "scheduled"
    assert before + MINUTES_30 <= written.scheduled_at <= after + MINUTES_30
    assert before + 2 * MINUTES_30 <= written.expires_at <= after + 2 * MINUTES_30


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(seconds=-1)])
def test_a_delay_that_is_over_is_none(store, delay):
    [attempt] = enqueued(store, scheduled_at=delay)
    assert row(store, attempt).state == "pending"


def test_the_options_of_the_caller_are_stored(store):
    options: dict[str, Any] = {
        "queue": "emails",
        "priority": 7,
        "max_attempts": 3,
        "timeout": 2.5,
        "keep_result": True,
        "metadata": {"trace": "é"},
    }
    [attempt] = enqueued(store, **options)
    written = row(store, attempt)
    assert {name: getattr(written, name) for name in options} == options
    assert written.method_args == [0]


def test_the_object_knows_what_the_database_made_of_it(store):
    [attempt] = enqueued(store, scheduled_at=MINUTES_30, expires_at=2 * MINUTES_30)
    written = row(store, attempt)
    known = ("id", "status", "scheduled_at", "expires_at", "created_at")
    assert [getattr(attempt, name) for name in known] == [getattr(written, name) for name in known]
    assert attempt.created


def test_a_database_that_returns_nothing_is_asked_when_somebody_reads(store, monkeypatch):
    features = store.database.connection.features
    monkeypatch.setattr(features, "can_return_columns_from_insert", False)
    attempt = new(store.database.alias, scheduled_at=MINUTES_30)
    with CaptureQueriesContext(store.database.connection) as queries:
        assert type(store)(store.database.alias).attempts.insert(attempt)
    assert len(queries) == 1
    assert (attempt.status, attempt.scheduled_at) == ("scheduled", row(store, attempt).scheduled_at)


@pytest.mark.parametrize("options", [{}, {"idempotence_token": "once"}], ids=["plain", "token"])
def test_one_attempt_is_one_statement(store, options):
    with (
        transaction.atomic(store.database.alias),
        CaptureQueriesContext(store.database.connection) as queries,
    ):
        assert store.attempts.insert(new(store.database.alias, **options))
    assert len(queries) == 1


def test_many_attempts_are_few_statements_in_the_order_given(store, worker):
    attempts = [new(store.database.alias) for _ in range(1200)]
    with (
        transaction.atomic(store.database.alias),
        CaptureQueriesContext(store.database.connection) as queries,
    ):
        store.attempts.insert_many(attempts)
    inserts = [query for query in queries if query["sql"].startswith("INSERT")]
    assert len(inserts) == 3
    claims = store.claims.claim(worker.pk, ["default"], 1200)
    assert [claim.id for claim in claims] == [attempt.pk for attempt in attempts]


def test_a_few_attempts_are_one_statement_without_a_savepoint(store):
    attempts = [
        new(store.database.alias, priority=n, scheduled_at=MINUTES_30 * (n % 2)) for n in range(5)
    ]
    with (
        transaction.atomic(store.database.alias),
        CaptureQueriesContext(store.database.connection) as queries,
    ):
        assert store.attempts.insert_or_get_many(attempts) == attempts
    assert len(queries) == 1
    assert store.database.attempts.count() == 5


def test_a_few_in_several_statements_are_written_whole_or_not_at_all(store):
    first, second = new(store.database.alias), new(store.database.alias)
    second.id = first.id
    with transaction.atomic(store.database.alias):
        with pytest.raises(IntegrityError):
            store.attempts.insert_many([first, second], batch_size=1)
        assert not store.database.attempts.exists()
    assert not first.created


def test_a_rolled_back_savepoint_takes_its_attempts_along(store):
    with transaction.atomic(store.database.alias):
        [kept] = enqueued(store)
        with rolled_back(store):
            enqueued(store, 3)
    assert [attempt.pk for attempt in store.database.attempts.all()] == [kept.pk]


def test_many_are_written_whole_or_not_at_all(store):
    enqueued(store, idempotence_token="taken")
    attempts = [
        new(store.database.alias),
        new(store.database.alias, idempotence_token="taken"),
        new(store.database.alias),
    ]
    with transaction.atomic(store.database.alias):
        with pytest.raises(DuplicateAttempt, match="taken"):
            Attempt.objects.using(store.database.alias).bulk_create(attempts)
        assert store.database.attempts.count() == 1
        [other] = enqueued(store)
    assert row(store, other).state == "pending"


def test_everybody_who_listens_hears_of_a_new_attempt(store):
    heard = []

    def listen(*, attempt, **kwargs):
        heard.append((attempt.pk, attempt.status))

    enqueued_signal.connect(listen)
    try:
        [taken] = enqueued(store, idempotence_token="once")
        enqueued(store, idempotence_token="once")
    finally:
        enqueued_signal.disconnect(listen)
    assert heard == [(taken.pk, "pending")]


def test_each_database_has_one_store(store):
    assert store_for(store.database.alias) is store_for(store.database.alias)
    assert store_for(store.database.alias).database.connection.alias == store.database.alias


def test_a_token_is_free_again_when_its_row_is_gone(store):
    [first] = enqueued(store, idempotence_token="once")
    put(store, first, status="succeeded", completed_at=first.created_at)
    [again] = enqueued(store, idempotence_token="once")
    assert (again.pk, again.created) == (first.pk, False)
    store.retention.prune(Retention({"succeeded": Keep(0.000001)}))
    [third] = enqueued(store, idempotence_token="once")
    assert third.created
