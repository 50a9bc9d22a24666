"""The main thing: enqueued in a transaction, performed after its commit."""

from __future__ import annotations

import psutil
import pytest
from django.db import transaction

from async_attempts import Attempt
from tests.shop import clients, effects
from tests.worker.helpers.attempts import drain, enqueued, stored


def test_a_committed_attempt_is_performed_once(database):
    with transaction.atomic(database):
        attempt = enqueued(
            database, clients.OrderClient.fulfill, customer_token="token", order_number=1
        )
    drain(database)
    drain(database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.num_attempts, attempt.claim_seq) == ("succeeded", 1, 1)
    assert attempt.created_at <= attempt.started_at <= attempt.completed_at
    assert attempt.claimed_by is not None


def enqueue_and_raise(database):
    with transaction.atomic(database):
        enqueued(database, effects.record)
        raise ZeroDivisionError


def test_a_rolled_back_attempt_is_not(database):
    with pytest.raises(ZeroDivisionError):
        enqueue_and_raise(database)
    drain(database)
    assert not Attempt.objects.using(database).exists()
    assert effects.seen == []


def test_an_attempt_of_a_rolled_back_savepoint_is_not(database):
    with transaction.atomic(database):
        kept = enqueued(database, effects.record, "kept")
        with pytest.raises(ZeroDivisionError):
            enqueue_and_raise(database)
    drain(database)
    assert [attempt.pk for attempt in Attempt.objects.using(database).all()] == [kept.pk]
    assert effects.seen == [("function", ("kept",), {})]


@pytest.mark.only("sqlite", reason="this is about what the command itself opens")
def test_it_leaves_nothing_open_behind(database):
    drain(database)
    before = psutil.Process().num_fds()
    for _ in range(3):
        drain(database)
    # What earlier tests have left may be closed meanwhile.
    assert psutil.Process().num_fds() <= before
