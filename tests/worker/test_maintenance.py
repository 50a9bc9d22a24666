"""What a worker does for all: it keeps up, and what it can't do doesn't end it."""

from __future__ import annotations

import logging

from django.db import IntegrityError

from async_attempts import Attempt
from async_attempts.conf import settings
from async_attempts.models import Worker
from async_attempts.models.clock import DatabaseNow
from async_attempts.store import store_for
from async_attempts.store.rows import seconds_from_now
from async_attempts.worker import maintenance
from async_attempts.worker.incarnation import new_worker
from async_attempts.worker.maintenance import Maintenance
from tests.shop import clients
from tests.worker.attempts import enqueued, put, stored


def test_pruning_goes_on_until_it_is_through(database, monkeypatch):
    monkeypatch.setattr(maintenance, "PRUNE_BATCHES", 1)
    monkeypatch.setattr(maintenance, "PRUNE_PAUSE", 0.0)
    for number in range(1500):
        enqueued(database, clients.send_welcome, number)
    long_ago = seconds_from_now(-30 * 86_400)
    rows = Attempt.objects.using(database)
    rows.update(status="succeeded", completed_at=long_ago)
    one = Maintenance(store_for(database))
    one._next_prune = 0.0
    one.tick()
    assert rows.count() == 500
    one.tick()
    assert not rows.exists()
    enqueued(database, clients.send_welcome, 1)
    rows.update(status="succeeded", completed_at=DatabaseNow())
    one.tick()
    assert rows.count() == 1


def test_a_foreign_key_that_forbids_it_is_told_and_is_no_outage(database, monkeypatch, caplog):
    one = Maintenance(store_for(database))

    def refuse(*args, **kwargs):
        raise IntegrityError("a shop's row refers to it")

    monkeypatch.setattr(one.store, "prune", refuse)
    with caplog.at_level(logging.ERROR):
        one.prune()
    assert "old attempts can't be deleted: IntegrityError" in caplog.text
    assert "refers to it" not in caplog.text


def test_what_crashed_too_often_is_told(database, caplog):
    store = store_for(database)
    dead = new_worker(queues=["default"])
    store.register(dead, 30)
    poison, other = (enqueued(database, clients.send_welcome, number) for number in range(2))
    put(poison, claimed_by=dead.pk, num_crashes=settings().MAX_CRASHES - 1)
    put(other, claimed_by=dead.pk)
    Worker.objects.using(database).update(lease=seconds_from_now(-1))
    with caplog.at_level(logging.WARNING):
        assert Maintenance(store).rescue() == 2
    assert (stored(poison).status, stored(other).state) == ("failed", "pending")
    assert f"attempt {poison.pk}: failed for good" in caplog.text
    assert f"attempt {other.pk}" not in caplog.text
