"""Limits, as workers keep them: never exceeded, and nothing is left undone for them."""

from __future__ import annotations

import time
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from async_attempts import pause_queue, resume_queue
from async_attempts.calls import call, enqueue_many
from async_attempts.lifecycle import Succeeded
from async_attempts.models import DatabaseNow, Worker
from async_attempts.store import store_for
from async_attempts.worker.loop.suspects import PATIENCE
from tests.shop import effects, limited
from tests.store.rows import registered
from tests.store.sessions import Session
from tests.worker.helpers.attempts import drain, enqueued, put, states, stored
from tests.worker.helpers.processes import lines, until


@pytest.fixture
def store_worker(database):
    """The store, and a worker that claims by hand."""
    store = store_for(database)
    return store, registered(store)


@pytest.fixture
def queues(settings, workers):
    """Gives the queues of this process and of its workers these options."""

    def queues(**options):
        declared = {"default": {}, "emails": {}, "fulfilment": {}, **options}
        settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": declared}
        workers.settings = {"QUEUES": declared}

    return queues


def started(workers, database, *arguments):
    return workers.start(f"--database={database}", "--poll-interval=0.2", "--threads=4", *arguments)


def all_succeeded_of(attempts):
    return {stored(one).status for one in attempts} == {"succeeded"}


def all_succeeded(database):
    return set(states(database)) == {"succeeded"}


def test_a_queue_runs_as_many_as_it_may_and_all_in_the_end(database, workers, queues, tmp_path):
    queues(default={"concurrency": 3})
    calls = [call(limited.take_one_of, str(tmp_path), "queue", 3, 0.02)] * 40
    enqueue_many([one.using(database=database) for one in calls])
    both = [started(workers, database) for _ in range(2)]
    until(lambda: all_succeeded(database), *both)
    assert limited.record(tmp_path) == ["queue took"] * 40


def test_a_target_and_a_key_have_limits_of_their_own(database, workers, tmp_path):
    path = str(tmp_path)
    calls = [call(limited.one_of_two, path, 0.02)] * 20
    calls += [call(limited.one_of_a_customer, path, n % 3, seconds=0.02) for n in range(30)]
    enqueue_many([one.using(database=database) for one in calls])
    both = [started(workers, database) for _ in range(2)]
    until(lambda: all_succeeded(database), *both)
    record = limited.record(tmp_path)
    assert len(record) == 50
    assert all(line.endswith(" took") for line in record)


def test_a_drain_performs_what_waits_for_a_place(database, tmp_path):
    calls = [call(limited.one_of_a_customer, str(tmp_path), 1)] * 5
    enqueue_many([one.using(database=database) for one in calls])
    drain(database)
    assert states(database) == ["succeeded"] * 5


def test_a_drain_waits_for_tokens(database, queues):
    queues(default={"rate": "10/s", "burst": 1})
    enqueue_many([call(effects.record, n).using(database=database) for n in range(5)])
    begun = time.monotonic()
    drain(database)
    assert len(effects.seen) == 5
    assert time.monotonic() - begun >= 0.4


def test_a_drain_does_not_wait_for_tokens_that_nobody_needs(database, queues):
    queues(default={"rate": "1/d"})
    enqueued(database, effects.record)
    drain(database)
    drain(database)
    assert states(database) == ["succeeded"]


def test_a_drain_leaves_what_is_paused(database, queues):
    queues(default={"paused": True})
    enqueued(database, effects.record)
    enqueued(database, effects.record, options={"queue": "emails"})
    drain(database)
    assert states(database) == ["pending", "succeeded"]
    resume_queue("default", database=database)
    drain(database)
    assert states(database) == ["succeeded", "succeeded"]


def test_a_drain_does_not_wake_one_by_one_what_it_leaves(database, queues, store_worker):
    queues()
    store, worker = store_worker
    calls = [call(effects.record, n).using(database=database, limit_key="k") for n in range(20)]
    enqueue_many(calls)
    [held] = store.claim(worker.pk, ["default"], 20)
    store.finish(worker.pk, [(held, Succeeded())])
    pause_queue("default", database=database)
    drain(database)
    assert Counter(states(database)) == {"succeeded": 1, "waiting": 19}
    drain(database, queues="emails")
    resume_queue("default", database=database)
    drain(database)
    assert set(states(database)) == {"succeeded"}


def test_a_worker_heeds_a_pause_and_its_end(database, workers, queues, tmp_path):
    queues()
    worker = started(workers, database)
    enqueued(database, limited.take_one_of, str(tmp_path), "a", 1)
    until(lambda: all_succeeded(database), worker)
    pause_queue("default", database=database)
    enqueued(database, limited.take_one_of, str(tmp_path), "a", 1)
    enqueued(database, limited.take_one_of, str(tmp_path), "b", 1, options={"queue": "emails"})
    until(lambda: "b took" in limited.record(tmp_path), worker)
    assert states(database)[1] == "pending"
    resume_queue("default", database=database)
    until(lambda: all_succeeded(database), worker)


def test_what_a_limit_holds_back_lets_others_pass(database, workers, queues, tmp_path):
    queues(default={"concurrency": 1})
    slow = [call(limited.take_one_of, str(tmp_path), "slow", 1, 1.0)] * 2
    enqueue_many([one.using(database=database, priority=50) for one in slow])
    worker = started(workers, database)
    until(lambda: limited.record(tmp_path), worker)
    enqueued(database, limited.take_one_of, str(tmp_path), "mail", 1, options={"queue": "emails"})
    until(lambda: len(limited.record(tmp_path)) > 1, worker)
    assert limited.record(tmp_path) == ["slow took", "mail took"]


@pytest.mark.slow
def test_a_suspect_whose_queue_is_full_costs_the_others_nothing(
    database, workers, queues, tmp_path
):
    queues(emails={"concurrency": 1})
    began, go, path = (str(tmp_path / name) for name in ("began", "go", "path"))
    slow = enqueued(database, effects.wait_for, began, go, options={"queue": "emails"})
    worker = started(workers, database, "--processes=1")
    until(lambda: lines(tmp_path / "began"), worker)
    later = {"scheduled_at": timedelta(hours=1), "queue": "emails"}
    suspect = enqueued(database, effects.write, path, options=later)
    put(suspect, num_crashes=1, scheduled_at=DatabaseNow())
    until(lambda: stored(suspect).status == "pending", worker)
    # For longer than a hand is given to run empty.
    until_then = time.monotonic() + PATIENCE + 3
    while time.monotonic() < until_then:
        [one] = enqueue_many([call(effects.write, path).using(database=database)])
        until(partial(all_succeeded_of, [one]), worker)
        time.sleep(0.05)
    # Nor has a spare child been there.
    assert Worker.objects.using(database).count() == 1
    assert stored(suspect).num_attempts == 0
    (tmp_path / "go").touch()
    until(partial(all_succeeded_of, [slow, suspect]), worker)


@pytest.mark.slow
@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")
def test_a_worker_that_is_frozen_while_it_looks_for_a_place_holds_up_nobody(
    database, workers, store_worker, tmp_path
):
    store, by_hand = store_worker
    of_customer = call(limited.one_of_a_customer, str(tmp_path), 1).using(database=database)
    enqueue_many([of_customer])
    [held] = store.claim(by_hand.pk, ["default"], 1)
    frozen = Session(database)
    try:
        frozen.begin()
        frozen.do(lambda: list(store.slots.select_for_update()))
        keyed = enqueue_many([of_customer] * 5)
        others = enqueue_many(
            [call(effects.write, str(tmp_path / "p")).using(database=database)] * 20
        )
        worker = started(workers, database)
        until(partial(all_succeeded_of, others), worker)
        until(lambda: {stored(one).status for one in keyed} == {"waiting"}, worker)
        store.finish(by_hand.pk, [(held, Succeeded())])
        frozen.rollback()
        until(lambda: all_succeeded(database), worker)
    finally:
        frozen.close()
    assert limited.record(tmp_path) == ["customer-1 took"] * 5
