"""No wake-up is lost, whoever commits, looks and goes to sleep at the same moment."""

from __future__ import annotations

import os
import random
import select
import threading
import time
from typing import Any, Final

import pytest
from django.db import connections, transaction

from async_attempts.models import Worker
from async_attempts.store import store_for
from async_attempts.worker.loop.wakeup import WakeUp
from tests.store.rows import LEASE
from tests.worker.helpers.listeners import gives
from tests.worker.helpers.processes import PATIENCE

LONG: Final = 20 * PATIENCE
"""So that a wake-up that is lost isn't made good by a poll."""

QUEUES: Final = ("default", "emails", "fulfilment")
"""One for each idle worker, so that none makes good what another has overslept."""

CALLERS: Final = 3
ROUNDS: Final = 80
BE_BUSY: Final = b"b"
END: Final = b"e"


class Idler(threading.Thread):
    """Claims what it can and forgets it at once; sleeps as `WakeUp` says, as long as it can."""

    def __init__(self, database: str, queue: str, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.database = database
        self.chance = chance
        self.queue = queue
        self.claimed: list[Any] = []
        self.ended_well = False
        self._told, self._telling = os.pipe()

    def run(self) -> None:
        try:
            self._live()
            self.ended_well = True
        finally:
            connections.close_all()

    def tell(self, word: bytes) -> None:
        os.write(self._telling, word)

    def stop(self) -> None:
        self.tell(END)
        self.join(PATIENCE)
        os.close(self._told)
        os.close(self._telling)

    def _live(self) -> None:
        store = store_for(self.database)
        worker = Worker(host="host", pid=1, name="idler", queues=[self.queue])
        store.register(worker, LEASE)
        wake_up = WakeUp(store, LONG)
        seconds = 0.0
        while (word := self._asleep(wake_up, seconds)) != END:
            if word == BE_BUSY:
                wake_up.busy()
                wake_up.busy()
            wake_up.notified()
            claims = store.claim(worker.pk, [self.queue], 1)
            self.claimed += [claim.id for claim in claims]
            self._dawdle()
            if claims:
                wake_up.busy()
            seconds = 0.0 if claims else wake_up.longest_sleep()
            self._dawdle()
        wake_up.close()

    def _dawdle(self) -> None:
        """Leave the others time for anything between a look and what follows it."""
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0, 0.03))

    def _asleep(self, wake_up: WakeUp, seconds: float) -> bytes:
        listening = [fd for fd in [wake_up.fileno()] if fd is not None]
        readable, _, _ = select.select([self._told, *listening], [], [], seconds)
        return os.read(self._told, 1) if self._told in readable else b""


class Caller(threading.Thread):
    """Enqueues in transactions of random length at random moments, one in each round."""

    def __init__(self, database: str, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self.database = database
        self.chance = chance
        self.committed: list[Any] = []
        self.rounds = threading.Semaphore(0)
        self.done = threading.Semaphore(0)

    def run(self) -> None:
        try:
            for _ in range(ROUNDS):
                self.rounds.acquire()
                time.sleep(self.chance.expovariate(60))
                self._enqueue()
                self.done.release()
        finally:
            connections.close_all()

    def _enqueue(self) -> None:
        keeps = self.chance.random() < 0.85
        with transaction.atomic(self.database):
            attempts = [
                gives(self.database, queue=self.chance.choice(QUEUES))
                for _ in range(self.chance.randint(1, 2))
            ]
            if self.chance.random() < 0.5:
                time.sleep(self.chance.uniform(0, 0.03))
            transaction.set_rollback(not keeps, self.database)
        if keeps:
            self.committed += [attempt.pk for attempt in attempts]


@pytest.mark.slow
@pytest.mark.only("postgresql", reason="the others have no notifications")
def test_no_wake_up_is_lost(database: str) -> None:
    seed = random.randrange(2**32)
    idlers = [Idler(database, queue, random.Random(-seed - n)) for n, queue in enumerate(QUEUES)]
    callers = [Caller(database, random.Random(seed + n)) for n in range(CALLERS)]
    for thread in (*idlers, *callers):
        thread.start()
    try:
        for number in range(ROUNDS):
            for idler in idlers:
                # So that each falls asleep anew while the callers commit.
                idler.tell(BE_BUSY)
            for caller in callers:
                caller.rounds.release()
            for caller in callers:
                assert caller.done.acquire(timeout=PATIENCE)
            _wait_until_all_is_claimed(idlers, callers, f"round {number}, seed {seed}")
    finally:
        for idler in idlers:
            idler.stop()
    claimed = sorted(pk for idler in idlers for pk in idler.claimed)
    assert claimed == sorted(pk for caller in callers for pk in caller.committed)
    assert all(idler.ended_well for idler in idlers)


def _wait_until_all_is_claimed(idlers: list[Idler], callers: list[Caller], where: str) -> None:
    number = sum(len(caller.committed) for caller in callers)
    deadline = time.monotonic() + PATIENCE / 6
    while sum(len(idler.claimed) for idler in idlers) < number:
        assert all(idler.is_alive() for idler in idlers)
        assert time.monotonic() < deadline, where
        time.sleep(0.001)
