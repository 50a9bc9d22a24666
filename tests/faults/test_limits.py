"""Limits hold while workers die: targets see for themselves, by the operating system's locks."""

from __future__ import annotations

import random
from functools import partial

from async_attempts.calls import call, enqueue_many
from tests.faults.fleet import all_have_ended, kill_child, kill_group, rows, started
from tests.shop import limited
from tests.worker.helpers.processes import until

WORKERS = 4
ATTEMPTS = 120
DEATHS = 8


def test_they_are_never_exceeded_and_no_place_is_lost(database, mortals, tmp_path, settings):
    queues = {"default": {}, "emails": {"concurrency": 3}, "fulfilment": {}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}
    mortals.settings |= {"QUEUES": queues, "MAX_CRASHES": 1000}
    path = str(tmp_path)
    of_queue = call(limited.take_one_of, path, "queue", 3, 0.02)
    calls = [of_queue.using(database=database, queue="emails")] * (ATTEMPTS // 2)
    calls += [
        call(limited.one_of_a_customer, path, number % 4, seconds=0.02).using(database=database)
        for number in range(ATTEMPTS // 2)
    ]
    enqueue_many(calls)

    def new_worker():
        return started(mortals, database, "--skip-checks", "--threads=3", "--processes=1")

    alive = [new_worker() for _ in range(WORKERS)]
    chosen = random.Random(seed := random.randrange(1_000_000))
    for number, after in enumerate(sorted(chosen.sample(range(ATTEMPTS * 3 // 4), DEATHS))):
        until(partial(lambda after: len(limited.record(path)) >= after, after), *alive)
        victim = number % WORKERS
        if chosen.random() < 0.5:
            kill_child(alive[victim])
        else:
            kill_group(alive[victim])
            alive[victim] = new_worker()
    until(partial(all_have_ended, database), *alive)

    assert set(rows(database).values_list("status", flat=True)) == {"succeeded"}, f"seed {seed}"
    record = limited.record(path)
    assert not [line for line in record if "crowded" in line], f"seed {seed}"
    assert len(record) >= ATTEMPTS
