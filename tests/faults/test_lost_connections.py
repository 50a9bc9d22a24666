"""Guarantee 7: a worker whose connections are cut or lead nowhere stays, and finishes all."""

from __future__ import annotations

import signal
from functools import partial

import pytest
from django.db import connections

from async_attempts.calls import call, enqueue_many
from async_attempts.models import DatabaseNow, Worker
from tests.faults.conftest import LEASE, has_connections
from tests.faults.fleet import (
    ALONE,
    all_have_ended,
    drained,
    live_pids,
    processes,
    started,
    states_of_workers,
    stopped,
)
from tests.faults.leases import let_leases_run_out
from tests.shop import hazards
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import enqueued, failures, stored
from tests.worker.helpers.processes import until

pytestmark = has_connections

OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist "
    "WHERE db = DATABASE() AND id <> CONNECTION_ID()",
}
TERMINATE = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
NO_SUCH_THREAD = 1094
WITHOUT_DATABASE = 3


def terminate_connections(database):
    """End all connections to the database but our own; returns how many there were."""
    vendor = connections[database].vendor
    ended = 0
    with connections[database].cursor() as cursor:
        cursor.execute(OTHERS[vendor])
        for (pid,) in cursor.fetchall():
            try:
                cursor.execute(TERMINATE[vendor], [pid])
            except Exception as error:
                # It has ended by itself meanwhile.
                if error.args[0] != NO_SUCH_THREAD:
                    raise
            else:
                ended += 1
    return ended


def test_a_worker_outlives_its_connections_again_and_again(database, mortals, book):
    path = book.path
    leased = [
        call(hazards.leave_traces, path, 0.01),
        call(hazards.leave_traces_asynchronously, path, 0.01),
        call(hazards.fail_at_first, path),
    ]
    calls = [one.using(database=database, keep_result=True) for one in leased * 40]
    book.promise(enqueue_many(calls))
    atomic = [call(hazards.leave_row, database, 0.01).using(database=database)] * 60
    book.promise(enqueue_many(atomic), atomic=True)

    def has_come_to(number):
        return len(book.traces("ended")) + Ledger.objects.using(database).count() >= number

    worker = started(mortals, database, processes(database), "--threads=2")
    for done in range(1, 160, 20):
        until(partial(has_come_to, done), worker)
        until(partial(terminate_connections, database), worker)
    until(lambda: all_have_ended(database), worker)
    stopped(worker)
    assert "trying again in" in worker.output
    book.balance()


@pytest.mark.parametrize("signals", [[], [signal.SIGTERM]], ids=["goes on", "is stopped"])
def test_an_outcome_is_recorded_though_the_connections_were_cut_meanwhile(
    database, mortals, book, signals
):
    attempt = enqueued(database, hazards.wait_at_first, book.path, book.go)
    unbegun = enqueued(database, hazards.leave_traces, book.path)
    worker = started(mortals, database, *ALONE)
    until(book.traces, worker)
    assert terminate_connections(database)
    for number in signals:
        worker.signal(number)
    book.let_go()
    if not signals:
        until(lambda: all_have_ended(database), worker)
        stopped(worker)
    assert worker.exit_code() == 0, worker.output
    assert (stored(attempt).status, stored(attempt).claim_seq) == ("succeeded", 1)
    assert stored(unbegun).claimed_by is None or not signals


def test_a_network_that_swallows_everything_for_longer_than_the_lease_ends_nothing(
    database, mortals, proxy, book
):
    """Connections stay open, nothing comes through; then they are cut, as a router's reset does."""
    mortals.databases = {database: proxy.settings}
    begun = enqueued(database, hazards.wait_at_first, book.path, book.go)
    book.promise([begun])
    worker = started(mortals, database, *ALONE)
    until(book.traces, worker)
    pids = live_pids(database)
    has_run_out = Worker.objects.using(database).filter(lease__lt=DatabaseNow()).exists
    proxy.go_black()
    book.let_go()
    until(lambda: book.traces("ended"), worker)
    until(has_run_out, worker)
    proxy.come_back()
    proxy.cut_all()
    later = [enqueued(database, hazards.leave_traces, book.path) for _ in range(5)]
    book.promise(later)
    until(lambda: all_have_ended(database), worker)
    assert live_pids(database) == pids
    assert states_of_workers(database) == {"live"}
    assert (stored(begun).claim_seq, failures(begun)) == (1, [])
    stopped(worker)
    book.balance()


def test_a_slow_network_only_slows(database, mortals, proxy, book):
    mortals.databases = {database: proxy.settings}
    proxy.delay = LEASE / 100
    book.promise(enqueued(database, hazards.leave_traces, book.path) for _ in range(20))
    worker = started(mortals, database)
    until(lambda: all_have_ended(database), worker)
    assert states_of_workers(database) == {"live"}
    stopped(worker)
    book.balance()


def test_who_waits_for_the_database_to_register_hears_that_it_is_to_stop(database, workers, proxy):
    workers.settings = {"LEASE": LEASE}
    workers.databases = {database: proxy.settings}
    worker = workers.start("--shutdown-timeout=3600", f"--database={database}")
    until(lambda: live_pids(database), worker)
    [old] = worker.children()
    proxy.refuses = True
    old.kill()
    until(lambda: "trying again" in worker.output.partition("was lost")[2], worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output


def test_a_network_that_swallows_everything_keeps_no_supervisor_from_stopping(
    database, workers, proxy
):
    workers.settings = {"LEASE": LEASE}
    workers.databases = {database: proxy.settings}
    worker = workers.start("--shutdown-timeout=1", f"--database={database}")
    until(lambda: live_pids(database), worker)
    leases = Worker.objects.using(database).values_list("lease", flat=True)
    first = leases.get()
    until(lambda: leases.get() > first, worker)
    proxy.go_black()
    until(lambda: "the lease could not be renewed" in worker.output, worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output


def test_what_ends_in_an_outage_while_it_stops_is_recorded_after_it(database, workers, proxy, book):
    workers.settings = {"LEASE": LEASE}
    workers.databases = {database: proxy.settings}
    begun = enqueued(database, hazards.wait_at_first, book.path, book.go)
    book.promise([begun])
    worker = workers.start("--shutdown-timeout=3600", f"--database={database}")
    until(book.traces, worker)
    proxy.refuses = True
    proxy.cut_all()
    worker.signal(signal.SIGTERM)
    book.let_go()
    until(lambda: book.traces("ended"), worker)
    until(lambda: worker.output.count("trying again") > 4, worker)
    proxy.refuses = False
    assert worker.exit_code() == 0, worker.output
    begun = stored(begun)
    assert (begun.status, begun.claim_seq, begun.num_crashes) == ("succeeded", 1, 0)
    book.balance()


def test_a_drain_whose_database_goes_away_ends_with_3_and_loses_nothing(
    database, mortals, proxy, book
):
    begun = enqueued(database, hazards.wait_at_first, book.path, book.go)
    unbegun = enqueued(database, hazards.leave_traces, book.path)
    book.promise([begun, unbegun])
    mortals.databases = {database: proxy.settings}
    worker = started(mortals, database, "--drain", *ALONE)
    until(book.traces, worker)
    proxy.refuses = True
    proxy.cut_all()
    book.let_go()
    assert worker.exit_code() == WITHOUT_DATABASE, worker.output
    mortals.databases = {}
    let_leases_run_out(database)
    drained(mortals, database)
    book.balance()
