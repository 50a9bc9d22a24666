"""Guarantees 1, 2 and 8 under twenty `kill -9` at random moments."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from itertools import chain, islice
from pathlib import Path

from async_attempts.api import call, enqueue_many
from async_attempts.models import Attempt, Worker
from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.processes import WorkerProcess, Workers, lines, until

ATTEMPTS = 500
KILLS = 20
WORKERS = 2


def test_nothing_is_lost_stuck_or_applied_twice(database: str, mortals: Workers, ledger: Path):
    mortals.settings["MAX_CRASHES"] = 1000
    leased = [call(effects.write_slowly, str(ledger), 0.005)] * (ATTEMPTS // 2)
    atomic = [call(effects.write_row_slowly, database, 0.005)] * (ATTEMPTS // 2)
    mixed = chain.from_iterable(zip(leased, atomic, strict=True))
    attempts = enqueue_many(one.using(database=database) for one in mixed)
    rows = Ledger.objects.using(database)

    def new_worker() -> WorkerProcess:
        # A life is shorter than the system checks would be.
        return mortals.start("--skip-checks", "--poll-interval=0.05", f"--database={database}")

    def has_come_to(number: int) -> bool:
        return len(lines(ledger)) + rows.count() >= number

    alive = [new_worker() for _ in range(WORKERS)]
    seed = random.randrange(1_000_000)
    for after in sorted(random.Random(seed).sample(range(ATTEMPTS), KILLS)):
        until(partial(has_come_to, after))
        alive[after % WORKERS].kill()
        alive[after % WORKERS] = new_worker()
    unfinished = Attempt.objects.using(database).exclude(status="succeeded")
    until(lambda: not unfinished.exists(), *alive)

    assert Worker.objects.using(database).exclude(state="live").exists()
    promised_leased = {str(attempt.pk) for attempt in islice(attempts, 0, None, 2)}
    promised_atomic = {attempt.pk for attempt in islice(attempts, 1, None, 2)}
    performed = Counter(line[0] for line in lines(ledger))
    written = Counter(rows.values_list("attempt_id", flat=True))
    assert set(performed) == promised_leased, f"seed {seed}"
    assert written == Counter(promised_atomic), f"seed {seed}"
