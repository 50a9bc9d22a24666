"""Reports of tasks that don't go with their caller's transaction."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import TestCase

from tests.shop import effects
from tests.shop.models import Order
from tests.store.rows import registered
from tests.worker.helpers.attempts import drain, enqueued, stored


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's writers exclude each other")
def test_nobody_sees_it_before_its_order(database, store, sessions, acting):
    """celery/celery#8491, saleor/saleor#5457: a worker performs the task before its caller's
    transaction is committed, and the row that it is about isn't there.
    """
    acting(lambda pk: Order.objects.using(database).get(pk=pk))
    caller = sessions()
    caller.begin()
    order = caller.do(Order.objects.using(database).create, number=7)
    attempt = caller.do(enqueued, database, effects.act, order.pk)
    assert store.claim(registered(store).pk, ["default"], 1) == []
    caller.commit()
    drain(database)
    assert stored(attempt).status == "succeeded"


def test_its_id_is_known_before_the_commit(database):
    """celery/celery#8976: `delay_on_commit` can't return the id of a task that isn't sent yet."""
    with transaction.atomic(database):
        attempt = enqueued(database, effects.record)
        known = str(attempt.pk)
    assert str(stored(attempt).pk) == known


def test_a_testcase_can_run_the_worker(database):
    """RealOrangeOne/django-tasks-db#56: the worker's command closes the connection of the
    `TestCase` that calls it.
    """

    def call_the_worker(case: TestCase) -> None:
        attempt = enqueued(database, effects.record)
        call_command("run_attempts", drain=True, database=database, verbosity=0)
        assert stored(attempt).status == "succeeded"

    case = type("OnDatabase", (TestCase,), {"databases": {database}, "runTest": call_the_worker})
    result = case().run()
    assert result is not None
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])
