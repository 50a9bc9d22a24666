"""Claim what fits, perform it one after another, record it; until told to stop."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from typing import Final

from django.db import Error, connections

from .. import signals
from ..conf import settings
from ..exceptions import UnknownKey
from ..lifecycle import Released
from ..models import Worker
from ..store import Claim, Store
from .acknowledging import acknowledge
from .batches import BATCH_SECONDS, FAIR_SECONDS, BatchSize, Pace
from .incarnation import new_worker
from .leases import LeaseKeeper
from .maintenance import Maintenance
from .options import Options
from .runner import Execution, Runner

logger = logging.getLogger("async_attempts")

UNKNOWN_KEYS_IN_A_ROW: Final = 5
SUSPECT_INTERVAL: Final = 1.0
LONGEST_OUTAGE_PAUSE: Final = 15.0


class Loop:
    """One worker: a process that performs one attempt after another."""

    def __init__(self, store: Store, options: Options) -> None:
        self.store = store
        self.options = options
        self.stopping = threading.Event()
        self.performed = 0
        self.batch_size = BatchSize(options.batch_size)
        self.pace = Pace()
        self.maintenance = Maintenance(store)
        self._unknown_keys = 0
        self._next_suspect = 0.0

    def stop(self) -> None:
        """Finish what has begun, release the rest, and end."""
        self.stopping.set()

    def run(self) -> None:
        """Live as one incarnation after another: a new one when this one was rescued."""
        outages = 0
        while not self.stopping.is_set():
            try:
                if self._live():
                    return
                outages = 0
            except Error as error:
                if self.options.once or self.options.drain:
                    raise
                outages += 1
                pause = min(2.0**outages / 4, LONGEST_OUTAGE_PAUSE) * random.uniform(0.5, 1)
                logger.warning(
                    "the database answers with %s; trying again in %.1f s",
                    type(error).__name__,
                    pause,
                )
                connections.close_all()
                self.stopping.wait(pause)
                self.maintenance.reconnected()

    def _live(self) -> bool:
        """One incarnation; True when the work is done, False when its lease was lost."""
        worker = new_worker(queues=self.options.queues, name=self.options.name)
        self.store.register(worker, settings().LEASE)
        signals.worker_started.send_robust(Worker, worker=worker)
        with LeaseKeeper(self.store, worker.pk) as lease:
            runner = Runner(self.store, worker.pk)
            try:
                while not self.stopping.is_set() and not lease.lost:
                    lease.tick()
                    self.maintenance.tick()
                    self.store.promote()
                    claims = self._claim(runner)
                    self._perform(runner, claims, lease)
                    if self._is_done(claims):
                        return True
                    if not claims:
                        self._sleep()
                return not lease.lost
            finally:
                self._say_goodbye(worker)

    def _say_goodbye(self, worker: Worker) -> None:
        try:
            self.store.deregister(worker.pk)
        except Error as error:
            # Its lease will run out; it holds nothing that could be lost.
            logger.warning("could not deregister: %s", type(error).__name__)
        signals.worker_stopped.send_robust(Worker, worker=worker)

    def _claim(self, runner: Runner) -> Sequence[Claim]:
        if self._unknown_keys >= UNKNOWN_KEYS_IN_A_ROW:
            self._pause_for_keys()
            return ()
        now = time.monotonic()
        if now >= self._next_suspect:
            self._next_suspect = now + SUSPECT_INTERVAL
            if suspects := self._claim_suspect(runner):
                return suspects
        most = self.options.batch_size if self.options.once else self.batch_size.size
        if self.options.max_attempts is not None:
            most = min(most, self.options.max_attempts - self.performed)
        claims = self.store.claim(runner.worker_id, self.options.queues, most)
        return claims or self._claim_suspect(runner)

    def _claim_suspect(self, runner: Runner) -> Sequence[Claim]:
        return self.store.claim(runner.worker_id, self.options.queues, 1, suspects=True)

    def _perform(self, runner: Runner, claims: Sequence[Claim], lease: LeaseKeeper) -> None:
        """Perform `claims` in order; give back what can't begin soon, or when stopping."""
        unrecorded: list[Execution] = []
        began = recorded = time.monotonic()
        for place, claim in enumerate(claims):
            now = time.monotonic()
            target = (claim.target, claim.method_name)
            if unrecorded and (now - recorded > BATCH_SECONDS or not self.pace.is_quick(target)):
                acknowledge(self.store, runner.worker_id, unrecorded)
                unrecorded, recorded = [], now
            waited_too_long = now - began > FAIR_SECONDS and place and not self.options.once
            if self.stopping.is_set() or lease.lost or waited_too_long:
                unrecorded += [Execution(c, Released()) for c in claims[place:]]
                break
            if signals.started.has_listeners(Execution):
                signals.started.send_robust(Execution, claim=claim)
            execution = runner.perform(claim)
            self.pace.note(target, now)
            self._count(execution)
            unrecorded.append(execution)
            lease.tick()
        self.batch_size.learn(len(claims), time.monotonic() - began)
        if unrecorded:
            acknowledge(self.store, runner.worker_id, unrecorded)

    def _count(self, execution: Execution) -> None:
        self.performed += 1
        unknown = isinstance(execution.exception, UnknownKey)
        self._unknown_keys = self._unknown_keys + 1 if unknown else 0

    def _pause_for_keys(self) -> None:
        logger.error(
            "%d attempts in a row are sealed with keys that this worker doesn't have: check "
            "ASYNC_ATTEMPTS['KEYS']; claiming pauses for %.0f s",
            self._unknown_keys,
            settings().LEASE,
        )
        self._unknown_keys = 0
        if not self.options.drain and not self.options.once:
            self.stopping.wait(settings().LEASE)

    def _is_done(self, claims: Sequence[Claim]) -> bool:
        most = self.options.max_attempts
        if self.options.once or (most is not None and self.performed >= most):
            return True
        return self.options.drain and not claims and not self._may_be_rescued()

    def _may_be_rescued(self) -> bool:
        """Whether a drain has to wait for what a dead worker holds: that is due, too."""
        if not self.store.has_dead_workers():
            return False
        self.stopping.wait(self.maintenance.seconds_to_rescue())
        return self.maintenance.rescue() > 0

    def _sleep(self) -> None:
        """Until the next scheduled attempt is due, at most until the next poll."""
        next_due = self.store.next_due()
        interval = self.options.poll_interval
        self.stopping.wait(interval if next_due is None else min(interval, next_due + 0.001))
