"""Guarantee 7: a restart of the database ends no worker and rescues nobody who is alive; each
resumes within 30 s.
"""

from __future__ import annotations

import time
from functools import partial
from unittest import mock

import pytest
from django.db import connections

from async_attempts.calls import call, enqueue_many
from async_attempts.conf import settings as current_settings
from async_attempts.models import Worker
from async_attempts.store import store_for
from async_attempts.worker.maintenance import maintenance
from async_attempts.worker.maintenance.maintenance import LeaseWatch
from tests.faults.fleet import (
    QUICK,
    all_have_ended,
    live_pids,
    rows,
    states_of_workers,
    stopped,
)
from tests.faults.leases import let_leases_run_out
from tests.faults.ledger import Book
from tests.shop import hazards
from tests.shop.models import Ledger
from tests.store.rows import registered
from tests.worker.helpers.attempts import enqueued, failures, stored
from tests.worker.helpers.processes import until

LEASE = 2.0
RESUMPTION = 30.0


@pytest.fixture
def book(torn, tmp_path):
    """On the database that is torn down."""
    return Book(torn, tmp_path)


def on_torn(workers, torn, *arguments):
    """A worker on the database of the server that will be torn down."""
    workers.databases = {torn: connections[torn].settings_dict}
    return workers.start(QUICK, f"--database={torn}", "--processes=2", *arguments)


def outage(server, seconds):
    """Tear the server down for so long; returns when it is back, by the monotonic clock."""
    server.stop()
    connections["torn"].close()
    time.sleep(seconds)
    server.start()
    return time.monotonic()


def test_an_outage_longer_than_the_lease_ends_no_worker_and_rescues_nobody(
    torn, own_server, workers, book
):
    workers.settings = {"LEASE": LEASE}
    begun = enqueued(torn, hazards.wait_at_first, book.path, book.go)
    fleet = [on_torn(workers, torn) for _ in range(2)]
    until(lambda: book.traces() and len(live_pids(torn)) == 2 * len(fleet), *fleet)
    pids = live_pids(torn)
    back = outage(own_server, 2 * LEASE)
    after = [enqueued(torn, hazards.leave_traces, book.path) for _ in range(20)]
    book.promise([begun, *after])
    until(lambda: len(book.traces("ended")) == 20, *fleet)
    assert max(trace.seconds for trace in book.traces("ended")) - back < RESUMPTION
    book.let_go()
    until(lambda: all_have_ended(torn), *fleet)

    assert (stored(begun).claim_seq, failures(begun)) == (1, [])
    assert live_pids(torn) == pids
    assert states_of_workers(torn) == {"live"}
    for worker in fleet:
        stopped(worker)
    book.balance()


def late_leases(store):
    return property(lambda _: store.workers.late_leases(current_settings().LEASE))


@pytest.mark.parametrize(("reconnects", "is_late"), [(False, False), (True, False), (False, True)])
def test_nobody_rescues_within_half_a_lease_of_its_own_connection_or_late_renewal(
    database, monkeypatch, reconnects, is_late
):
    store = store_for(database)
    worker = registered(store)
    attempt = enqueued(database, hazards.leave_traces, "nowhere")
    store.claims.claim(worker.pk, ["default"], 1)
    let_leases_run_out(database)
    clock = mock.Mock(return_value=0.0)
    monkeypatch.setattr(maintenance, "now", clock)
    # By it the lease has been seen unchanged for long.
    monkeypatch.setattr(LeaseWatch, "unchanged", late_leases(store))
    rescuer = maintenance.Maintenance(store)
    if reconnects or is_late:
        clock.return_value = 1000.0
    if reconnects:
        rescuer.reconnected()
    late_at = 1000.0 if is_late else 0.0
    rescuer.tick(has_late_workers=True, late_at=late_at)
    assert stored(attempt).state == "running"
    clock.return_value += current_settings().LEASE / 2
    rescuer.tick(has_late_workers=True, late_at=late_at)
    assert stored(attempt).state == "pending"


def test_restarts_under_load_lose_and_repeat_nothing(torn, own_server, workers, book):
    workers.settings = {"LEASE": LEASE, "MAX_CRASHES": 1000}
    fleet = [on_torn(workers, torn) for _ in range(2)]
    # A worker that starts in an outage ends with 3, as it should.
    until(lambda: len(live_pids(torn)) == 2 * len(fleet), *fleet)
    leased = [
        call(hazards.leave_traces, book.path, 0.01).using(database=torn, keep_result=True)
    ] * 150
    atomic = [call(hazards.leave_row, torn, 0.01).using(database=torn)] * 150
    book.promise(enqueue_many(leased))
    book.promise(enqueue_many(atomic), atomic=True)

    def has_come_to(number):
        return len(book.traces("ended")) + Ledger.objects.using(torn).count() >= number

    for done in (20, 150):
        until(partial(has_come_to, done), *fleet)
        outage(own_server, 0)
    until(lambda: all_have_ended(torn), *fleet)
    for worker in fleet:
        stopped(worker)
    assert not rows(torn).filter(num_crashes__gt=0).exists()
    assert not Worker.objects.using(torn).filter(state="rescued").exists()
    book.balance()
