"""Claim what fits, perform it one after another, record it; until told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from django.db import Error

from .. import signals
from ..conf import settings
from ..exceptions import UnknownKey
from ..models import Worker
from ..store import Claim, Store
from .batches import BATCH_SECONDS, FAIR_SECONDS, BatchSize, Pace
from .hand import Hand
from .incarnation import new_worker
from .leases import LeaseKeeper
from .maintenance import Maintenance
from .options import Options
from .outages import Outages
from .runner import Execution, Runner
from .stopping import Stopping

logger = logging.getLogger("async_attempts")

UNKNOWN_KEYS_IN_A_ROW: Final = 5
SUSPECT_INTERVAL: Final = 1.0
LOCKED_PAUSE: Final = 0.05


class Loop:
    """One worker: a process that performs one attempt after another."""

    def __init__(self, store: Store, options: Options) -> None:
        self.store = store
        self.options = options
        self.stopping = Stopping()
        self.performed = 0
        self.batch_size = BatchSize(options.batch_size)
        self.pace = Pace()
        self.maintenance = Maintenance(store)
        self.outages = Outages(self.stopping)
        self._unknown_keys = 0
        self._next_suspect = 0.0

    def stop(self) -> None:
        """Finish what has begun, release the rest, and end."""
        self.stopping.set()

    def run(self) -> None:
        """Live as one incarnation after another: as a new one when this one was rescued.

        Raises django.db.Error when the database fails and the work was to come to an end.
        """
        done = False
        while not done and not self.stopping.is_set():
            try:
                worker = new_worker(queues=self.options.queues, name=self.options.name)
                self.store.register(worker, settings().LEASE)
            except Error as error:
                self._sit_out(error)
            else:
                done = self._live(worker)

    def _live(self, worker: Worker) -> bool:
        """One incarnation; True when the work is done, False when its lease was lost."""
        signals.worker_started.send_robust(Worker, worker=worker)
        hand = Hand(self.store, worker.pk)
        done = False
        with LeaseKeeper(self.store, worker.pk) as lease:
            try:
                while not done and not lease.lost and not self.stopping.is_set():
                    try:
                        done = self._work(hand, lease)
                        self.outages.over()
                    except Error as error:
                        self._sit_out(error)
            finally:
                self._end(worker, hand)
        signals.worker_stopped.send_robust(Worker, worker=worker)
        return done

    def _work(self, hand: Hand, lease: LeaseKeeper) -> bool:
        """Claim and perform once; True when that was the last time."""
        hand.give_back()
        hand.record()
        if self.outages.is_on:
            # A claim whose answer was lost with the connection is in nobody's hand.
            self.store.release_unknown(hand.worker_id)
        lease.tick()
        self.maintenance.tick()
        promoted = self.store.promote()
        claims = self._claim(hand)
        hand.take(claims)
        self._perform(hand, lease)
        # What was promoted may be another queue's, and behind it more that is due.
        is_idle = not claims and not promoted
        if self._is_done(is_idle, lease):
            return True
        if is_idle:
            self._sleep()
        return False

    def _claim(self, hand: Hand) -> Sequence[Claim]:
        if self._unknown_keys >= UNKNOWN_KEYS_IN_A_ROW:
            self._pause_for_keys()
            if self.stopping.is_set():
                return ()
        now = time.monotonic()
        is_time = now >= self._next_suspect
        if is_time:
            self._next_suspect = now + SUSPECT_INTERVAL
            if suspects := self._claim_suspect(hand):
                return suspects
        most = self.options.batch_size if self.options.once else self.batch_size.size
        if self.options.max_attempts is not None:
            most = min(most, self.options.max_attempts - self.performed)
        claims = self.store.claim(hand.worker_id, self.options.queues, most)
        return claims if claims or is_time else self._claim_suspect(hand)

    def _claim_suspect(self, hand: Hand) -> Sequence[Claim]:
        return self.store.claim(hand.worker_id, self.options.queues, 1, suspects=True)

    def _perform(self, hand: Hand, lease: LeaseKeeper) -> None:
        """Perform what is in hand; give back what can't begin soon, or all when stopping."""
        runner = Runner(self.store, hand.worker_id)
        began = recorded = time.monotonic()
        count = 0
        while hand.unbegun:
            now = time.monotonic()
            is_unfair = count > 0 and now - began > FAIR_SECONDS and not self.options.once
            if self.stopping.is_set() or lease.lost or is_unfair:
                hand.give_back()
                break
            target = hand.next_target()
            if now - recorded > BATCH_SECONDS or not self.pace.is_quick(target):
                hand.record()
                recorded = now
            hand.ended(self._perform_one(runner, hand.begin()))
            self.pace.note(target, now)
            count += 1
            lease.tick()
        self.batch_size.learn(count, time.monotonic() - began)
        hand.record()

    def _perform_one(self, runner: Runner, claim: Claim) -> Execution:
        if signals.started.has_listeners(Execution):
            signals.started.send_robust(Execution, claim=claim)
        execution = runner.perform(claim)
        self.performed += 1
        unknown = isinstance(execution.exception, UnknownKey)
        self._unknown_keys = self._unknown_keys + 1 if unknown else 0
        return execution

    def _pause_for_keys(self) -> None:
        pause = 0.0 if self._comes_to_an_end else settings().LEASE
        logger.error(
            "%d attempts in a row are sealed with keys that this worker doesn't have: check "
            "ASYNC_ATTEMPTS['KEYS']; claiming pauses for %.0f s",
            self._unknown_keys,
            pause,
        )
        self._unknown_keys = 0
        self.stopping.wait(pause)

    @property
    def _comes_to_an_end(self) -> bool:
        return self.options.once or self.options.drain

    def _is_done(self, is_idle: bool, lease: LeaseKeeper) -> bool:
        most = self.options.max_attempts
        if self.options.once or (most is not None and self.performed >= most):
            return True
        if not self.options.drain or not is_idle or self._may_be_rescued():
            return False
        # To a worker that was rescued in the meantime, nothing is due.
        return lease.holds()

    def _may_be_rescued(self) -> bool:
        """Whether a drain took back what a dead worker held: that is due, too."""
        if not self.store.has_dead_workers():
            return False
        self.stopping.wait(self.maintenance.seconds_to_rescue())
        return self.maintenance.rescue() > 0

    def _sleep(self) -> None:
        """Until the next scheduled attempt is due, at most until the next poll."""
        next_due = self.store.next_due()
        interval = self.options.poll_interval
        if next_due is not None:
            # What is due already, and wasn't promoted, is locked by somebody's transaction.
            interval = min(interval, next_due + 0.001 if next_due else LOCKED_PAUSE)
        self.stopping.wait(interval)

    def _sit_out(self, error: Error) -> None:
        if self._comes_to_an_end:
            raise error
        self.outages.wait(error)
        self.maintenance.reconnected()

    def _end(self, worker: Worker, hand: Hand) -> None:
        """Record and release what is in hand, and say goodbye."""
        try:
            hand.give_back()
            hand.record()
            if self.outages.is_on:
                self.store.release_unknown(worker.pk)
            self.store.deregister(worker.pk)
        except Error as error:
            # Its lease will run out, and another worker takes back what it held.
            logger.warning("the worker ended without the database: %s", type(error).__name__)
