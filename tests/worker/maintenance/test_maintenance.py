"""What a worker does for all: it keeps up, and what it can't do doesn't end it."""

from __future__ import annotations

import logging

import pytest
from django.core.management import CommandError, call_command
from django.db.models import ProtectedError
from django.db.models.signals import pre_delete

from async_attempts import Attempt, call, enqueue_many, signals
from async_attempts.conf import retention, settings
from async_attempts.models import Worker
from async_attempts.models.clock import DatabaseNow
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from async_attempts.worker.maintenance import maintenance, pruning
from async_attempts.worker.maintenance.maintenance import LeaseWatch, Maintenance
from async_attempts.worker.maintenance.pruning import Pruner
from async_attempts.worker.shared.registration import new_worker
from async_attempts.worker.shared.shared_memory import now
from tests.shop import clients
from tests.worker.helpers.attempts import enqueued, put, stored


def test_pruning_goes_on_until_it_is_through(database, monkeypatch):
    monkeypatch.setattr(maintenance, "PRUNE_BATCHES", 1)
    monkeypatch.setattr(maintenance, "PRUNE_PAUSE", 0.0)
    enqueue_many(call(clients.send_welcome, n).using(database=database) for n in range(150))
    long_ago = seconds_from_now(-30 * 86_400)
    rows = Attempt.objects.using(database)
    rows.update(status="succeeded", completed_at=long_ago)
    one = Maintenance(store_for(database))
    one._next_prune = 0.0
    one.tick(has_late_workers=False, late_at=0.0)
    assert rows.count() == 50
    one.tick(has_late_workers=False, late_at=0.0)
    assert not rows.exists()
    enqueued(database, clients.send_welcome, 1)
    rows.update(status="succeeded", completed_at=DatabaseNow())
    one.tick(has_late_workers=False, late_at=0.0)
    assert rows.count() == 1


@pytest.mark.parametrize(
    ("seconds", "sizes"), [(0.06, [50, 25, 12, 10, 10]), (0.0, [200, 400, 800, 1000, 1000])]
)
def test_batches_shrink_where_they_are_slow_and_else_grow(database, monkeypatch, seconds, sizes):
    clock = [0.0]

    def prune(*args, **kwargs):
        clock[0] += seconds
        return 0, None

    monkeypatch.setattr(pruning, "now", lambda: clock[0])
    pruner = Pruner(store_for(database))
    monkeypatch.setattr(pruner, "_prune", prune)
    found = []
    for _ in sizes:
        pruner.prune(retention())
        found.append(pruner.batch_size)
    assert found == sizes


def test_expiring_goes_on_until_it_is_through_and_then_rests(database, monkeypatch, caplog):
    monkeypatch.setattr(maintenance, "EXPIRE_PAUSE", 0.0)
    monkeypatch.setattr(maintenance, "EXPIRED_AT_ONCE", 2)
    one = Maintenance(store_for(database))
    late, *others = [enqueued(database, clients.send_welcome, number) for number in range(3)]
    scheduled = enqueued(database, clients.send_welcome, 4, options={"scheduled_at": 3600})
    for attempt in (late, others[1], scheduled):
        put(attempt, expires_at=seconds_from_now(-1))
    one._next_expire = 0.0
    told = []
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            one.tick(has_late_workers=False, late_at=0.0)
            told.append(Attempt.objects.using(database).filter(status="expired").count())
    assert told == [2, 3, 3]
    assert stored(others[0]).status == "pending"
    assert [caplog.text.count(f"expired {n} attempts that no worker claimed") for n in (1, 2)] == [
        1, 1,
    ]  # fmt: skip
    put(others[0], expires_at=seconds_from_now(-1))
    one.tick(has_late_workers=False, late_at=0.0)
    assert stored(others[0]).status == "pending"


def test_who_listens_hears_which_were_overdue(database):
    attempt = enqueued(database, clients.send_welcome, 1)
    put(attempt, expires_at=seconds_from_now(-1))
    heard = []

    def hear(attempt_ids, **named):
        heard.append((named["database"], attempt_ids))

    signals.overdue.connect(hear)
    try:
        one = Maintenance(store_for(database))
        one.expire_overdue()
        one.expire_overdue()
    finally:
        signals.overdue.disconnect(hear)
    assert heard == [(database, [attempt.pk])]


@pytest.fixture
def old(database, monkeypatch):
    """Old attempts, of which a shop's rows refer to two, as a foreign key with PROTECT has it."""
    attempts = enqueue_many([call(clients.greet, n).using(database=database) for n in range(30)])
    rows = Attempt.objects.using(database)
    rows.update(status="succeeded", completed_at=seconds_from_now(-30 * 86_400))
    monkeypatch.setitem(store_for(database).retention.__dict__, "_is_referred_to", True)
    protected = {attempts[11].pk, attempts[20].pk}

    def refuse(instance, **named):
        if instance.pk in protected:
            raise ProtectedError("a shop's row refers to it", {instance})

    pre_delete.connect(refuse, sender=Attempt)
    yield protected
    pre_delete.disconnect(refuse, sender=Attempt)


def test_what_a_foreign_key_keeps_is_told_and_keeps_no_other(database, old, monkeypatch, caplog):
    monkeypatch.setattr(maintenance, "PRUNE_PAUSE", 0.0)
    one = Maintenance(store_for(database))
    one._next_prune = 0.0
    with caplog.at_level(logging.ERROR):
        for _ in range(10):
            one.tick(has_late_workers=False, late_at=0.0)
    assert set(Attempt.objects.using(database).values_list("pk", flat=True)) == old
    assert caplog.text.count("2 old attempts can't be deleted") == 1
    assert "refers to it" not in caplog.text


def test_the_command_deletes_the_others_and_tells_how_many_it_could_not(database, old):
    with pytest.raises(CommandError, match="2 attempts are kept by rows of this project") as told:
        call_command("attempts", "prune", database=database)
    assert told.value.returncode == 1
    assert set(Attempt.objects.using(database).values_list("pk", flat=True)) == old


def test_what_crashed_too_often_is_told(database, caplog, monkeypatch):
    store = store_for(database)
    dead = new_worker(queues=["default"])
    store.workers.register(dead, 30)
    poison, other = (enqueued(database, clients.send_welcome, number) for number in range(2))
    put(poison, claimed_by=dead.pk, num_crashes=settings().MAX_CRASHES - 1)
    put(other, claimed_by=dead.pk)
    Worker.objects.using(database).update(lease=seconds_from_now(-1))
    monkeypatch.setattr(LeaseWatch, "unchanged", store.workers.late_leases(30))
    with caplog.at_level(logging.WARNING):
        assert Maintenance(store).rescue() == 2
    assert (stored(poison).status, stored(other).state) == ("failed", "pending")
    assert f"attempt {poison.pk}: failed for good" in caplog.text
    assert f"attempt {other.pk}" not in caplog.text


def test_one_reading_of_a_clock_rescues_nobody(database):
    store = store_for(database)
    alive = new_worker(queues=["default"])
    store.workers.register(alive, 30)
    attempt = enqueued(database, clients.send_welcome, 1)
    put(attempt, claimed_by=alive.pk)
    one = Maintenance(store)
    one._connected -= 1000.0
    # As when the database's clock is set forward.
    Worker.objects.using(database).update(lease=seconds_from_now(-60))
    one.tick(has_late_workers=True, late_at=0.0)
    store.workers.renew(alive.pk, 30)
    assert stored(attempt).state == "running"


def test_claims_of_a_worker_that_is_no_more_are_taken_back_now_and_then(database, monkeypatch):
    store = store_for(database)
    stopped = new_worker(queues=["default"])
    store.workers.register(stopped, 30)
    attempt = enqueued(database, clients.send_welcome, 1)
    put(attempt, claimed_by=stopped.pk, num_attempts=1)
    store.workers.deregister(stopped.pk)
    one = Maintenance(store)
    assert not one.tick(has_late_workers=False, late_at=0.0)
    assert stored(attempt).state == "running"
    later = now() + maintenance.ORPHAN_INTERVAL
    monkeypatch.setattr(maintenance, "now", lambda: later)
    assert one.tick(has_late_workers=False, late_at=0.0)
    assert (stored(attempt).state, stored(attempt).num_attempts) == ("pending", 0)
