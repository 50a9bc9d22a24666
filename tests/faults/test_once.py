"""Guarantee 8: without faults nothing is performed twice, and the effects of an atomic attempt are
there exactly once, whatever dies when.
"""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from async_attempts.calls import call, enqueue_many
from tests.faults.conftest import has_connections
from tests.faults.fleet import ALONE, all_have_ended, drained, processes, started, stopped
from tests.faults.leases import let_leases_run_out
from tests.faults.moments import OF_ATOMIC, OF_LEASED, OF_TRANSACTIONS, die_at
from tests.shop import hazards
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import PATIENCE, until

EACH = 100


def test_two_workers_perform_each_exactly_once(database, workers, book):
    path = book.path
    targets = [hazards.leave_traces, hazards.leave_traces_asynchronously]
    calls = [call(target, path).using(database=database) for target in targets] * EACH
    attempts = enqueue_many(calls)
    atomic = enqueue_many([call(hazards.leave_row, database).using(database=database)] * EACH)
    book.promise(attempts)
    book.promise(atomic, atomic=True)
    fleet = [started(workers, database, processes(database)) for _ in range(2)]
    until(lambda: all_have_ended(database), *fleet)
    for worker in fleet:
        stopped(worker)
    begun = Counter(trace.attempt_id for trace in book.traces("begun"))
    assert begun == Counter(attempt.pk for attempt in attempts)
    book.balance()


def enqueue_one(database, book, atomic):
    if atomic:
        attempt = enqueued(database, hazards.leave_row, database)
    else:
        options = {"keep_result": True}
        attempt = enqueued(database, hazards.leave_traces, book.path, options=options)
    book.promise([attempt], atomic=atomic)
    return attempt


def is_cut_and_repeats_nothing(database, mortals, proxy, book, moment):
    mortals.settings["LEASE"] = 60
    mortals.databases = {database: proxy.settings}
    trap = proxy.cut(**moment.trap)
    attempt = enqueue_one(database, book, moment.is_atomic)
    worker = started(mortals, database, *ALONE)
    assert trap.sprung.wait(PATIENCE), worker.output
    until(lambda: all_have_ended(database), worker)
    stopped(worker)
    book.balance()
    assert stored(attempt).num_crashes == 0
    if not moment.is_atomic:
        # Its outcome was known, and stayed in hand until it could be recorded.
        assert len(book.traces("begun")) == 1
        assert stored(attempt).num_attempts == 1


@has_connections
@pytest.mark.parametrize("moment", OF_LEASED + OF_ATOMIC)
def test_a_connection_that_is_cut_there_repeats_nothing(database, mortals, proxy, book, moment):
    is_cut_and_repeats_nothing(database, mortals, proxy, book, moment)


@pytest.mark.only("mariadb", reason="elsewhere these are single statements, or can't be cut")
@pytest.mark.parametrize("moment", OF_TRANSACTIONS)
def test_a_transaction_of_the_worker_that_is_cut_at_its_commit_repeats_nothing(
    database, mortals, proxy, book, moment
):
    is_cut_and_repeats_nothing(database, mortals, proxy, book, moment)


@has_connections
@pytest.mark.parametrize("moment", OF_LEASED + OF_ATOMIC)
def test_a_worker_that_dies_there_leaves_it_to_the_next(database, mortals, proxy, book, moment):
    mortals.databases = {database: proxy.settings}
    trap = proxy.cut(**moment.trap, spring=lambda: mortals.started[-1].signal_group(9))
    enqueue_one(database, book, moment.is_atomic)
    worker = started(mortals, database, *ALONE)
    assert trap.sprung.wait(PATIENCE), worker.output
    assert worker.exit_code() == -9, worker.output
    let_leases_run_out(database)
    drained(mortals, database)
    book.balance()


@pytest.mark.only("sqlite", reason="the others die by way of a proxy")
@pytest.mark.parametrize("moment", OF_LEASED + OF_ATOMIC + OF_TRANSACTIONS)
def test_a_child_that_dies_there_leaves_it_to_the_next(database, mortals, book, tmp_path, moment):
    mortals.settings["LEASE"] = 60
    once = tmp_path / "died"
    enqueue_one(database, book, moment.is_atomic)
    worker = started(mortals, database, *ALONE, prepare=partial(die_at, moment, once))
    until(lambda: once.exists() and all_have_ended(database), worker)
    stopped(worker)
    book.balance()


@pytest.mark.parametrize("how", sorted(hazards.DEATHS))
def test_an_atomic_target_that_ends_its_process_leaves_nothing(database, mortals, book, how):
    path = f"{book.path} of deaths"
    attempt = enqueued(database, hazards.leave_row_and_die, database, path, how, 1)
    book.promise([attempt], atomic=True)
    worker = started(mortals, database, "--drain", *ALONE)
    worker.exit_code()
    if how == "group":
        assert not Ledger.objects.using(database).exists()
        let_leases_run_out(database)
        drained(mortals, database)
    book.balance()
    assert Ledger.objects.using(database).get().claim_seq > 1
