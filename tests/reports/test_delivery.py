"""Reports of tasks that were performed twice, or never."""

from __future__ import annotations

from datetime import timedelta

import pytest

from async_attempts.lifecycle import Succeeded
from async_attempts.models import DatabaseNow
from tests.faults.fleet import ALONE, all_have_ended, kill_child, processes, started, stopped
from tests.shop import hazards
from tests.store.rows import enqueued as enqueued_in
from tests.store.rows import finish_all, let_lease_run_out, put, registered, row
from tests.store.sessions import at_once
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import until


def test_what_is_scheduled_far_ahead_is_handed_out_once(store):
    """celery/celery#2599: a task with a long ETA is held by a worker, redelivered to another one
    after each visibility timeout, and performed by all of them.
    """
    [later] = enqueued_in(store, scheduled_at=timedelta(hours=6))
    workers = [registered(store) for _ in range(3)]
    assert [store.claim(worker.pk, ["default"], 10) for worker in workers] == [[], [], []]
    let_lease_run_out(store, workers.pop())
    store.rescue()
    put(store, later, scheduled_at=DatabaseNow())
    store.promote()
    claims = [claim for one in workers for claim in store.claim(one.pk, ["default"], 10)]
    assert [(claim.id, claim.claim_seq) for claim in claims] == [(later.pk, 1)]


@pytest.mark.slow
def test_what_takes_longer_than_the_lease_is_performed_once(database, mortals, book):
    """Koed00/django-q#183, celery/celery#5935, janbjorge/pgqueuer#430: what lasts longer than
    `retry`, the visibility timeout or the heartbeat's timer is picked up again while it runs.
    """
    lasting = enqueued(database, hazards.leave_traces, book.path, 2.5 * mortals.settings["LEASE"])
    book.promise([lasting])
    both = [started(mortals, database, *ALONE) for _ in range(2)]
    until(lambda: all_have_ended(database), *both)
    for worker in both:
        stopped(worker)
    assert [trace.word for trace in book.of(lasting)] == ["begun", "ended"]
    book.balance()


@pytest.mark.slow
def test_what_a_killed_process_was_performing_is_performed_again(database, mortals, book):
    """coleifer/huey#571, celery/celery#7924, rq/rq#2015: what a killed worker was performing, or
    had fetched, is lost.
    """
    begun = enqueued(database, hazards.wait_at_first, book.path, book.never)
    fetched = [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
    book.promise([begun, *fetched])
    killed = started(mortals, database, *ALONE)
    until(book.traces, killed)
    killed.kill_group()
    heir = started(mortals, database, *ALONE)
    until(lambda: all_have_ended(database), heir)
    stopped(heir)
    book.balance()


@pytest.mark.slow
def test_the_death_of_one_process_does_not_end_the_worker(database, mortals, book):
    """Bogdanp/dramatiq#376: a worker process that is killed for its memory shuts down all others,
    with exit code 0, so that no supervisor starts it again.
    """
    worker = started(mortals, database, processes(database))
    kill_child(worker)
    after = enqueued(database, hazards.leave_traces, book.path)
    book.promise([after])
    until(lambda: stored(after).status == "succeeded", worker)
    stopped(worker)
    book.balance()


def test_a_worker_of_the_same_name_does_not_hide_that_the_other_died(store):
    """procrastinate-org/procrastinate#1518, oban-bg/oban#862: a restarted pod has the old name,
    and with its heartbeats what the dead one was performing looks alive for ever.
    """
    [held] = enqueued_in(store)
    dead, heir = registered(store), registered(store)
    assert dead.name == heir.name
    assert len(store.claim(dead.pk, ["default"], 1)) == 1
    let_lease_run_out(store, dead)
    store.renew(heir.pk, 30)
    store.rescue()
    assert (row(store, held).state, row(store, held).num_crashes) == ("pending", 1)
    [claim] = store.claim(heir.pk, ["default"], 1, suspects=True)
    assert (claim.id, claim.claim_seq) == (held.pk, 2)


def test_many_workers_claim_and_finish_at_once_without_deadlocks(store):
    """collectiveidea/delayed_job_active_record#63, collectiveidea/delayed_job#658: on MySQL
    reserving and deleting deadlock, which kills workers, and what was done is done again.
    """
    attempts = enqueued_in(store, 120)
    workers = [registered(store) for _ in range(4)]

    def perform(number: int) -> list[tuple[object, int]]:
        done = []
        while claims := store.claim(workers[number].pk, ["default"], 7):
            done += [(claim.id, claim.claim_seq) for claim in claims]
            finish_all(store, workers[number], [(one, Succeeded()) for one in claims])
        return done

    done = [one for part in at_once(len(workers), perform) for one in part]
    assert sorted(done) == [(attempt.pk, 1) for attempt in attempts]
    assert {row(store, attempt).status for attempt in attempts} == {"succeeded"}
