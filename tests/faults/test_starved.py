"""Guarantee 2: a target that starves every thread of its process beyond the lease loses nothing,
since the supervisor renews, or nobody can.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import transaction

from async_attempts.models import DatabaseNow, Worker
from tests.faults.conftest import LEASE
from tests.faults.fleet import (
    live_pids,
    processes,
    rows,
    started,
    states_of_workers,
    stopped,
)
from tests.shop import hazards
from tests.worker.helpers.attempts import enqueued, failures, stored
from tests.worker.helpers.processes import until

LONGER = 3 * int(LEASE + 0.5)
RENEWABLE = 6.0
"""Seconds in which a renewal that has to be given up leaves time for another."""


@pytest.mark.parametrize("neighbours", [0, 6])
def test_a_worker_that_is_starved_is_taken_for_dead_by_nobody(database, mortals, book, neighbours):
    greedy = enqueued(database, hazards.starve_all, book.path, LONGER)
    others = [enqueued(database, hazards.leave_traces, book.path) for _ in range(neighbours)]
    book.promise([greedy, *others])
    starved = started(mortals, database, processes(database))
    rescuer = started(mortals, database, "--queues=emails")
    until(lambda: not rows(database).exclude(status="succeeded").exists(), starved, rescuer)
    begun, ended = (t for t in book.traces() if t.attempt_id == greedy.pk)
    assert ended.seconds - begun.seconds > LEASE
    for attempt in map(stored, [greedy, *others]):
        assert (attempt.num_attempts, attempt.num_crashes) == (1, 0)
        assert failures(attempt) == []
    assert stored(greedy).claim_seq == 1
    assert states_of_workers(database) == {"live"}
    book.balance()


@contextmanager
def locked(database: str, *pids: int) -> Iterator[None]:
    """As a process that is starved in the midst of its claim locks its worker's row; SQLite has one
    lock for all.
    """
    workers = Worker.objects.using(database)
    # By the key: a scan keeps those rows on MariaDB, too, whose locks it had to wait for.
    keys = list(workers.filter(pid__in=pids).values_list("pk", flat=True))
    with transaction.atomic(using=database):
        assert len(workers.filter(pk__in=keys).select_for_update()) == len(pids)
        yield


def test_nobody_is_taken_for_dead_whose_lease_nobody_could_renew(database, mortals, book, tmp_path):
    go = tmp_path / "go"
    attempt = enqueued(database, hazards.wait_at_first, book.path, str(go))
    book.promise([attempt])
    busy = started(mortals, database, processes(database))
    until(book.traces, busy)
    rescuer = started(mortals, database, "--queues=emails")
    number = len(busy.children()) + 1
    until(lambda: len(live_pids(database)) == number, busy, rescuer)
    with locked(database, *live_pids(database)):
        time.sleep(LONGER)
    time.sleep(LEASE)
    go.touch()
    until(lambda: stored(attempt).status == "succeeded", busy, rescuer)
    assert (stored(attempt).claim_seq, failures(attempt)) == (1, [])
    assert states_of_workers(database) == {"live"}
    stopped(busy)
    stopped(rescuer)
    book.balance()


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one lock for all, and one child")
def test_a_child_that_locks_its_row_does_not_keep_back_the_lease_of_another(database, mortals):
    mortals.settings["LEASE"] = RENEWABLE
    worker = started(mortals, database, "--processes=2")
    until(lambda: len(live_pids(database)) == 2, worker)
    starved, other = live_pids(database)
    in_time = Worker.objects.using(database).filter(lease__gt=DatabaseNow())
    with locked(database, starved):
        time.sleep(1.5 * RENEWABLE)
        assert set(in_time.values_list("pid", flat=True)) == {other}, worker.output
    until(lambda: in_time.count() == 2, worker)
    assert states_of_workers(database) == {"live"}
    stopped(worker)
