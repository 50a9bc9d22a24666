"""Guarantees 1, 2, 4 and 8 under `kill -9` of children, supervisors and whole groups."""

from __future__ import annotations

import random
from functools import partial

from async_attempts.calls import call, enqueue_many
from async_attempts.models import Worker
from tests.faults.fleet import KILLS, all_have_ended, processes, started
from tests.shop import hazards
from tests.shop.models import Ledger
from tests.worker.helpers.processes import until

ATTEMPTS = 400
DEATHS = 18
WORKERS = 2


def test_nothing_is_lost_stuck_or_applied_twice(database, mortals, book):
    mortals.settings["MAX_CRASHES"] = 1000
    path = book.path
    traced = [
        call(hazards.leave_traces, path, 0.005),
        call(hazards.leave_traces_asynchronously, path, 0.005),
        call(hazards.fail_at_first, path, 0.005),
    ]
    leased = [
        traced[number % 3].using(database=database, keep_result=number % 2 == 0)
        for number in range(ATTEMPTS // 2)
    ]
    atomic = [call(hazards.leave_row, database, 0.005).using(database=database)] * (ATTEMPTS // 2)
    book.promise(enqueue_many(leased))
    book.promise(enqueue_many(atomic), atomic=True)
    effects = Ledger.objects.using(database)

    def new_worker():
        # A life is shorter than the system checks would be.
        return started(mortals, database, "--skip-checks", "--threads=2", processes(database))

    def has_come_to(number):
        return len(book.traces("ended")) + effects.count() >= number

    alive = [new_worker() for _ in range(WORKERS)]
    chosen = random.Random(seed := random.randrange(1_000_000))
    for number, after in enumerate(sorted(chosen.sample(range(ATTEMPTS * 3 // 4), DEATHS))):
        until(partial(has_come_to, after))
        victim = alive[number % WORKERS]
        how = chosen.choice(list(KILLS))
        KILLS[how](victim)
        if how != "child":
            alive[number % WORKERS] = new_worker()
    until(partial(all_have_ended, database), *alive)

    assert Worker.objects.using(database).exclude(state="live").exists()
    book.balance(f"seed {seed}")
