"""The main job: enqueued in a transaction, performed after its commit."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import transaction

from async_attempts import Attempt, call
from tests.shop import clients


def test_a_committed_attempt_is_performed_once(database):
    with transaction.atomic(database):
        attempt = call(clients.OrderClient.fulfill, customer_token="t", order_number=1).using(database=database).enqueue()
    call_command("run_attempts", drain=True, database=database, verbosity=0)
    attempt.refresh_from_db()
    assert (attempt.status, attempt.num_attempts, attempt.claim_seq) == ("succeeded", 1, 1)


def test_a_rolled_back_attempt_is_not(database):
    with pytest.raises(ZeroDivisionError), transaction.atomic(database):
        call(clients.OrderClient.fulfill, customer_token="t", order_number=1).using(database=database).enqueue()
        raise ZeroDivisionError
    assert not Attempt.objects.using(database).exists()
