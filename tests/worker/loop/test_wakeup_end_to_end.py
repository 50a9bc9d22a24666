"""What makes an attempt due wakes an idle worker, without any help from the test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import transaction

from async_attempts import Attempt, call
from async_attempts.calls import enqueue_many
from async_attempts.worker.loop.wakeup import WakeUp
from tests.shop import effects
from tests.worker.helpers.listeners import asleep, is_notified, is_woken

pytestmark = pytest.mark.only("postgresql", reason="the others have no notifications")


@pytest.fixture
def sleeper(database: str) -> Iterator[WakeUp]:
    """An idle worker, asleep."""
    wake_up = asleep(database)
    yield wake_up
    wake_up.close()


def by_enqueue(database: str) -> None:
    call(effects.act).using(database=database).enqueue()


def by_enqueue_many(database: str) -> None:
    enqueue_many([call(effects.act).using(database=database) for _ in range(20)])


def by_create(database: str) -> None:
    Attempt.objects.using(database).create(target=effects.act)


def by_bulk_create(database: str) -> None:
    attempts = [call(effects.act).attempt() for _ in range(20)]
    Attempt.objects.using(database).bulk_create(attempts)


def by_token(database: str) -> None:
    call(effects.act).using(database=database, idempotence_token="one").enqueue()


def by_schedule(database: str) -> None:
    call(effects.act).using(database=database, scheduled_at=timedelta(minutes=1)).enqueue()


EVERY_WAY = [by_enqueue, by_enqueue_many, by_create, by_bulk_create, by_token, by_schedule]


@pytest.mark.parametrize("way", EVERY_WAY, ids=lambda way: way.__name__)
def test_each_way_to_enqueue_wakes_an_idle_worker_at_its_commit(database, sleeper, way):
    with transaction.atomic(database):
        way(database)
        assert not is_woken(sleeper)
    assert is_notified(sleeper)


@pytest.mark.parametrize("way", EVERY_WAY, ids=lambda way: way.__name__)
def test_a_rollback_wakes_nobody(database, sleeper, way):
    with transaction.atomic(database):
        way(database)
        transaction.set_rollback(True, database)
    assert not is_woken(sleeper)


@pytest.mark.parametrize("verb", ["expire", "fail"])
def test_a_persons_retry_wakes_an_idle_worker(database, sleeper, verb):
    attempt = call(effects.act).using(database=database).enqueue()
    assert is_notified(sleeper)
    getattr(attempt, verb)("why")
    assert not is_woken(sleeper)
    attempt.retry()
    assert is_notified(sleeper)
