"""Guarantee 5: a dead child's attempts are rescued by its supervisor within 1 s, a dead
supervisor's within LEASE + 10 s by another worker.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from async_attempts.models import DatabaseNow, Worker
from tests.faults.fleet import (
    ALONE,
    all_have_ended,
    drained,
    kill_group,
    processes,
    started,
    stopped,
)
from tests.shop import hazards
from tests.worker.helpers.attempts import enqueued, failures, states, stored
from tests.worker.helpers.processes import until

LONG_LEASE = 60
"""Only a supervisor rescues before it is over."""

AT_ONCE = 10
"""Seconds: one is promised, a busy machine may take some more, the lease would take 60."""

SHORT_LEASE = 1.5


def databases_now(database):
    return (
        Worker.objects.using(database).annotate(now=DatabaseNow()).values_list("now", flat=True)[0]
    )


def test_a_supervisor_rescues_at_once_what_its_child_had_begun(database, mortals, book):
    mortals.settings["LEASE"] = LONG_LEASE
    begun = enqueued(database, hazards.wait_at_first, book.path, book.never)
    unbegun = [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
    book.promise([begun, *unbegun])
    worker = started(mortals, database, *ALONE)
    until(book.traces, worker)
    victim = book.traces()[0].pid
    death = databases_now(database)
    os.kill(victim, signal.SIGKILL)
    until(lambda: all_have_ended(database), worker)

    (failure,) = failures(begun)
    assert (failure.kind, failure.error_class) == ("crash", "WorkerLost")
    assert (failure.failed_at - death).total_seconds() < AT_ONCE
    assert Worker.objects.using(database).get(pid=victim).state == "rescued"
    assert (stored(begun).num_attempts, stored(begun).num_crashes) == (2, 0)
    for attempt in map(stored, unbegun):
        assert (attempt.num_attempts, failures(attempt)) == (1, [])
    assert victim not in {trace.pid for trace in book.traces("ended")}
    stopped(worker)
    book.balance()


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one child at a time")
def test_the_other_children_go_on(database, mortals, book):
    mortals.settings["LEASE"] = LONG_LEASE
    victims = enqueued(database, hazards.wait_at_first, book.path, book.never)
    worker = started(mortals, database, processes(database), "--threads=1")
    until(lambda: len(book.traces()) == 1, worker)
    others = enqueued(database, hazards.wait_at_first, book.path, book.go)
    book.promise([victims, others])
    until(lambda: len(book.traces()) == 2, worker)
    first, second = book.traces()
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: stored(victims).status == "succeeded", worker)
    assert psutil.pid_exists(second.pid)
    book.let_go()
    until(lambda: stored(others).status == "succeeded", worker)
    assert (stored(others).claim_seq, failures(others)) == (1, [])
    stopped(worker)
    book.balance()


def test_without_its_supervisor_a_child_finishes_what_has_begun_and_gives_back_the_rest(
    database, mortals, book
):
    mortals.settings["LEASE"] = LONG_LEASE
    begun = enqueued(database, hazards.wait_at_first, book.path, book.go)
    unbegun = [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
    book.promise([begun, *unbegun])
    worker = started(mortals, database, *ALONE)
    until(book.traces, worker)
    (orphan,) = worker.children()
    worker.kill()
    until(lambda: states(database) == ["running", "pending", "pending", "pending"])
    book.let_go()
    until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)
    assert states(database) == ["succeeded", "pending", "pending", "pending"]
    assert [stored(attempt).num_attempts for attempt in unbegun] == [0, 0, 0]
    assert (stored(begun).claim_seq, failures(begun)) == (1, [])
    heir = started(mortals, database, "--drain")
    assert heir.exit_code() == 0, heir.output
    book.balance()


def test_without_its_supervisor_a_child_performs_nothing_beyond_its_lease(database, mortals, book):
    mortals.settings["LEASE"] = SHORT_LEASE
    begun = enqueued(database, hazards.wait_at_first, book.path, book.never)
    book.promise([begun])
    worker = started(mortals, database, *ALONE)
    until(book.traces, worker)
    (orphan,) = worker.children()
    worker.kill()
    until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)
    assert states(database) == ["running"]
    drained(mortals, database)
    assert [failure.kind for failure in failures(begun)] == ["lease"]
    assert orphan.pid not in {trace.pid for trace in book.traces("ended")}
    book.balance()


def test_without_a_supervisor_another_worker_rescues_within_the_lease_and_ten_seconds(
    database, mortals, book
):
    mortals.settings["LEASE"] = SHORT_LEASE
    heir = started(mortals, database, "--queues=emails")
    until(Worker.objects.using(database).exists, heir)
    attempt = enqueued(database, hazards.wait_at_first, book.path, book.never)
    victim = started(mortals, database, "--queues=default", *ALONE)
    until(book.traces, victim)
    kill_group(victim)
    until(lambda: stored(attempt).claimed_by is None, heir)
    (failure,) = failures(attempt)
    holder = Worker.objects.using(database).get(pk=failure.worker)
    assert failure.kind == "lease"
    assert (failure.failed_at - holder.lease).total_seconds() < 10
    assert states(database) == ["pending"]
    assert stored(attempt).num_crashes == 1
