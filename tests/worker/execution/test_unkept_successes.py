"""Where a queue keeps no successes, what succeeded is gone, and nothing else is."""

from __future__ import annotations

import logging

import pytest
from django.conf import settings
from django.test import override_settings

from async_attempts import Attempt, signals
from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import drain, enqueued, failures, make_due, raising, stored

pytestmark = pytest.mark.usefixtures("unkept")


@pytest.fixture
def unkept():
    queues = {"default": {"keep": {"succeeded": 0}}, "emails": {}, "fulfilment": {}}
    with override_settings(ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | {"QUEUES": queues}):
        yield


def everything(database):
    return Attempt.objects.using(database)


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_success_is_gone_and_told_once(database, acting, target, caplog):
    told = []

    def tell(claim, **named):
        told.append(claim.id)

    acting(lambda: "a result")
    attempt = enqueued(database, target, options={"keep_result": True})
    signals.succeeded.connect(tell)
    try:
        with caplog.at_level(logging.WARNING):
            drain(database)
    finally:
        signals.succeeded.disconnect(tell)
    assert (told, caplog.text) == ([attempt.pk], "")
    assert not everything(database).exists()


def test_an_atomic_target_leaves_its_rows(database):
    enqueued(database, effects.write_row, database)
    drain(database)
    assert Ledger.objects.using(database).count() == 1
    assert not everything(database).exists()


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_failure_stays_until_it_succeeds(database, acting, target):
    acting(raising(ValueError("boom")))
    attempt = enqueued(database, target)
    drain(database)
    assert (stored(attempt).state, len(failures(attempt))) == ("scheduled", 1)
    acting(lambda: None)
    make_due(attempt)
    drain(database)
    assert not everything(database).exists()


def test_who_performs_a_row_keeps_its_copy(database, acting):
    acting(lambda: None)
    attempt = enqueued(database, effects.act)
    attempt.perform()
    assert attempt.state == "succeeded"
    assert not everything(database).exists()
