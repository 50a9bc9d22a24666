"""Where a queue keeps no successes, pruning deletes what succeeded, and nothing else."""

from __future__ import annotations

import logging

import pytest
from django.conf import settings
from django.test import override_settings

from async_attempts import Attempt, signals
from async_attempts.store import store_for
from async_attempts.worker.maintenance.maintenance import Maintenance
from async_attempts.worker.shared.shared_memory import now
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, failures, make_due, raising, stored

pytestmark = pytest.mark.usefixtures("unkept")


@pytest.fixture
def unkept():
    queues = {"default": {"keep": {"succeeded": 0}}, "emails": {}, "fulfilment": {}}
    with override_settings(ASYNC_ATTEMPTS=settings.ASYNC_ATTEMPTS | {"QUEUES": queues}):
        yield


def everything(database):
    return Attempt.objects.using(database)


def pruned(database):
    """What pruning leaves after a worker's run."""
    drain(database)
    Maintenance(store_for(database)).prune()
    return Attempt.objects.using(database)


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_success_is_told_once_and_pruned(database, acting, target, caplog):
    told = []

    def tell(claim, **named):
        told.append(claim.id)

    acting(lambda: "a result")
    attempt = enqueued(database, target, options={"keep_result": True})
    signals.succeeded.connect(tell)
    try:
        with caplog.at_level(logging.WARNING):
            left = pruned(database)
    finally:
        signals.succeeded.disconnect(tell)
    assert (told, caplog.text) == ([attempt.pk], "")
    assert not left.exists()


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_failure_stays_until_it_succeeds(database, acting, target):
    acting(raising(ValueError("boom")))
    attempt = enqueued(database, target)
    assert pruned(database).exists()
    assert (stored(attempt).state, len(failures(attempt))) == ("scheduled", 1)
    acting(lambda: None)
    make_due(attempt)
    assert not pruned(database).exists()


@pytest.mark.parametrize(("keep", "seconds"), [(0, 10), (1, 60)])
def test_walks_follow_each_other_sooner_where_nothing_is_kept(database, settings, keep, seconds):
    queues = {"default": {"keep": {"succeeded": keep}}, "emails": {}, "fulfilment": {}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}
    one = Maintenance(store_for(database))
    one._next_prune = 0.0
    one.tick(has_late_workers=False, late_at=0.0)
    assert one._next_prune - now() == pytest.approx(seconds, abs=5)


def test_who_performs_a_row_has_its_outcome(database, acting):
    acting(lambda: None)
    attempt = enqueued(database, effects.act)
    attempt.perform()
    assert attempt.state == "succeeded"
    assert not pruned(database).exists()
