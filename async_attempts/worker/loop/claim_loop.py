"""The claim loop: claim what can soon begin, have it performed, record it."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from django.db import Error

from ... import signals
from ...conf import settings
from ...models import Worker
from ...store import Claimed, Unknown
from ...store.transactions import is_about_a_value
from ..execution.acknowledge import announce_expired
from ..execution.interruptions import Interruptions
from ..maintenance.maintenance import Maintenance, set_malformed_aside
from ..shared.options import Options
from ..shared.registration import OwnLease
from ..shared.shared_memory import now
from ..shared.wake_pipe import StopEvent
from .batch_size import FAIR_SECONDS, RECORD_SECONDS, BatchSize
from .in_flight import Executor, InFlight
from .outages import Outages
from .poller import Poller

logger = logging.getLogger("async_attempts")

STILL_BUSY: Final = 0.25
STILL_IDLE: Final = 5.0
"""Seconds after which the loop goes on, whether or not something woke it."""

LAST_TRIES: Final = 3
UNKNOWN_PAUSE: Final = 1.0
"""Seconds after which a claim that is to be given back, and is locked, is tried again."""


class LoopObserver(Protocol):
    """The process around the loop, which hears of each of its rounds."""

    def loop_ticked(self, performed: int, in_flight: int, suspects_seen_at: float) -> None:
        """Hear the numbers of executions and of claims, and when suspects were last seen due.

        `suspects_seen_at`: by `shared_memory.now()`; 0.0 if none are due.
        """

    def note_database(self, is_at_it: bool) -> None:
        """Hear if the loop may wait for an answer of the database from now on."""

    def is_worn_out(self, performed: int) -> bool:
        """Return True if this process is to make room for a fresh one."""


class Loop:
    """The one thread of a worker that claims and records."""

    def __init__(
        self,
        options: Options,
        in_flight: InFlight,
        *,
        lease: OwnLease,
        executor: Executor,
        poller: Poller,
        stop_event: StopEvent,
        observer: LoopObserver,
        interruptions: Interruptions | None = None,
    ) -> None:
        self.store = store = in_flight.store
        self.options = options
        self.in_flight = in_flight
        self.lease = lease
        self.executor = executor
        self.poller = poller
        self.stop_event = stop_event
        self.observer = observer
        self.interruptions = interruptions or Interruptions(store)
        self.performed = 0
        self.batch_size = BatchSize(options.batch_size, executor.first_batch)
        self.maintenance = Maintenance(
            store, exits_when_done=options.exits_when_done, announcer=in_flight.announcer
        )
        self.outages = Outages(stop_event)
        self._has_claimed = self._found_none = False
        # From before a claim until all that it took is in flight, the worker may own more than it
        # knows; so it does after any error in between, until that is given back.
        self._unknown = Unknown.NOTHING
        self._ask_again_at = 0.0
        self._recorded_at = now()

    def run(self) -> None:
        """Run as a registered worker, and register again whenever this one was rescued.

        Raises django.db.Error when the database fails and the work was to come to an end.
        """
        done = False
        self.observer.note_database(True)
        try:
            while not done and not self.stop_event.is_set():
                try:
                    self.store.queues.declare(self.options.queues)
                    with self.lease.register() as me:
                        done = self._live(me)
                except Exception as error:
                    self._get_over(error)
        finally:
            self.poller.close()

    def _live(self, me: Worker) -> bool:
        """Claim and record as one registered worker; return True if the work is done."""
        self.in_flight.announcer.announce(signals.worker_started, Worker, worker=me)
        self._unknown = Unknown.NOTHING
        self.poller.expect()
        self.maintenance.begin()
        done = False
        try:
            while not done and not self.lease.lost and not self.stop_event.is_set():
                try:
                    done = self._go_round(me)
                    self.outages.over()
                except Exception as error:
                    self._get_over(error, me)
        finally:
            self._end(me)
        self.in_flight.announcer.announce(signals.worker_stopped, Worker, worker=me)
        return done

    def _go_round(self, me: Worker) -> bool:
        """Record, claim, let it be performed; True when that was the last time."""
        self._collect()
        if self._unknown is Unknown.CLAIM:
            self._recover(me)
        elif self._unknown is Unknown.LOCKED and now() >= self._ask_again_at:
            self._release_unknown(me)
        self.lease.tick()
        self.poller.poll(has_room=self._room() > 0)
        if self.maintenance.tick(
            has_waiting=self.poller.has_waiting,
            has_late_workers=self.poller.has_late_workers,
            late_at=self.lease.late_at,
            next_tick_at=self.poller.next_tick_at,
        ):
            self.poller.expect()
        unbegun_for = max(self.in_flight.seconds_unbegun(), self.executor.seconds_waiting())
        if unbegun_for > FAIR_SECONDS and not self.options.once:
            self.batch_size.stuck()
            self._give_back()
        self._record()
        self.in_flight.progress.write()
        self.interruptions.look_if_due()
        self.in_flight.statistics.flush_if_due()
        self._claim(me)
        if self.in_flight.is_empty and self._is_done(me):
            return True
        self._wait()
        return False

    def _collect(self) -> None:
        """Take over what has ended."""
        self.performed += len(self.in_flight.collect())
        if self.in_flight.is_idle:
            self.batch_size.idle()
        self._tell_observer()

    def _tell_observer(self) -> None:
        number, seen_at = len(self.in_flight), self.poller.suspects_seen_at
        self.observer.loop_ticked(self.performed, number, seen_at)

    def _give_back(self) -> None:
        self.in_flight.give_back(self.executor.give_back())

    def _recover(self, me: Worker) -> None:
        """Give back what a claim took that failed half-way: it isn't in flight."""
        self._give_back()
        self.in_flight.record()
        self._release_unknown(me)
        self.poller.expect()

    def _release_unknown(self, me: Worker) -> None:
        in_flight = self.in_flight.ids_of(me.pk)
        self._unknown = self.store.claims.release_unknown(me.pk, in_flight)
        self._ask_again_at = now() + UNKNOWN_PAUSE

    def _record(self) -> None:
        """Record what has ended, together with what ends within a few milliseconds."""
        if not self.in_flight.can_record:
            return
        early = self._recorded_at + RECORD_SECONDS - now()
        if early > 0 and not self.in_flight.is_idle:
            self._rest(early)
            self._collect()
        if self.in_flight.record():
            self.poller.expect()
        self._recorded_at = now()

    def _claim(self, me: Worker) -> None:
        """Claim what can soon begin, if there may be something."""
        wanted = self._room()
        # This very round may have heard that it is the last one.
        if wanted <= 0 or self.stop_event.is_set() or self._unknown is Unknown.CLAIM:
            return
        if self._takes_suspect:
            self.poller.took_suspect(len(self._take(me, 1, suspects=True)))
        elif self.poller.may_claim:
            self.batch_size.learn(self.in_flight.begun_in_all - self._busy)
            claims = self._take(me, wanted)
            self.poller.took(len(claims), wanted, may_have_more=claims.may_have_more)

    def _take(self, me: Worker, wanted: int, *, suspects: bool = False) -> Claimed:
        """Claim up to `wanted`, and add them to those in flight; return them."""
        idle = self.executor.performers - self._busy - self.in_flight.unbegun
        before, self._unknown = self._unknown, Unknown.CLAIM
        claims = self.store.claims.claim(
            me.pk,
            self.poller.queue_filter.queues,
            wanted,
            suspects=suspects,
            at_once=idle,
            passed_over=self.poller.missing_keys.passed_over,
        )
        self.poller.queue_filter.hold_back(claims.held_back)
        self.in_flight.take(claims)
        self.in_flight.take_ended(claims.unrecorded)
        self._unknown = before
        announce_expired(claims.too_late, self.in_flight.announcer)
        self._has_claimed, self._found_none = True, not claims
        return claims

    def _room(self) -> int:
        """Return the number of claims that can soon begin."""
        if self.observer.is_worn_out(self.performed):
            return 0
        if self.options.suspects_only:
            return int(self.in_flight.is_empty)
        if self.options.once:
            return 0 if self._has_claimed else self.options.batch_size
        idle = self.executor.performers - self._busy
        wanted = self.batch_size.wanted(self.in_flight.unbegun, idle)
        if self.options.stop_after is not None:
            wanted = min(wanted, self.options.stop_after - self.performed - len(self.in_flight))
        return wanted

    @property
    def _takes_suspect(self) -> bool:
        """True if the next claim is of one suspect, to be performed alone in this process."""
        if self.options.suspects_only:
            return True
        is_alone = self.executor.is_alone and self.in_flight.is_empty
        return is_alone and self.poller.suspects_seen_at > 0

    @property
    def _busy(self) -> int:
        """The number of performers that are busy."""
        return self.in_flight.begun - self.executor.num_async

    def _is_done(self, me: Worker) -> bool:
        """Return True if there is nothing left to do; called when nothing is in flight."""
        most = self.options.stop_after
        if self.observer.is_worn_out(self.performed) or (most and self.performed >= most):
            return True
        if self.options.once:
            # A poll says if suspects are due, which the spare child performs.
            return self._has_claimed and self.poller.has_polled
        if self.options.suspects_only:
            return self._found_none
        is_over = self.options.drain and self.poller.is_done and self._unknown is Unknown.NOTHING
        if not is_over or self._may_be_rescued(me):
            return False
        # In other queues, and in paused ones, it could wake one after the other in vain.
        if self.maintenance.sweep(queues=self.poller.queue_filter.queues):
            self.poller.expect()
            return False
        # To a worker that was rescued in the meantime, nothing is due.
        if not self.store.workers.renew(me.pk, settings().LEASE):
            self.lease.lose()
        return not self.lease.lost

    def _may_be_rescued(self, me: Worker) -> bool:
        """Take back, for a drain, what dead workers held; return True if there was something."""
        if not self.store.workers.has_dead():
            return self.maintenance.take_back_orphans() > 0
        self.maintenance.watch_leases()
        while left := self.maintenance.seconds_to_certainty(self.lease.late_at):
            if self.stop_event.is_set():
                return False
            self.stop_event.wait(left)
        self.poller.expect()
        return self.maintenance.rescue() + self.maintenance.take_back_orphans() > 0

    def _wait(self) -> None:
        """Wait until something has ended, something is due, or it is time to poll."""
        if self._room() <= 0:
            self._rest(self.poller.at_most(STILL_BUSY))
            return
        longest = STILL_IDLE if self.in_flight.is_empty else STILL_BUSY
        if (to_offer := self.in_flight.seconds_to_offer) is not None:
            longest = min(longest, to_offer)
        seconds = 0.0 if self.poller.may_claim else min(self.poller.seconds, longest)
        self._rest(seconds, self.poller.socket)

    def _rest(self, seconds: float, socket: int | None = None) -> None:
        """Let others work: from here to the end of it nothing is asked of the database."""
        self.observer.note_database(False)
        self.executor.work(seconds, socket)
        self.observer.note_database(True)

    def _get_over(self, error: Exception, me: Worker | None = None) -> None:
        """Set aside the row that is to blame for the error, if one is; else wait for better times.

        Raises what isn't the database's, and was no row's fault.
        """
        queues, worker_id = self.options.queues, None if me is None else me.pk
        if is_about_a_value(error) and set_malformed_aside(self.store, worker_id, queues):
            self.poller.expect()
        elif isinstance(error, Error):
            gives_up = self.options.exits_when_done
            if self.outages.sit_out(error, self.store.database, gives_up=gives_up):
                self.maintenance.reconnected()
            # Also while it isn't registered yet: it is alive, and may have been told to stop.
            self._tell_observer()
        else:
            raise error

    def _end(self, me: Worker) -> None:
        """Give back what hasn't begun, wait for the rest, and say goodbye.

        A rescued worker doesn't wait: what has begun is brought back after the next registration.
        """
        tries = LAST_TRIES
        # An execution that isn't recorded will be repeated: to avoid that is worth some time.
        until = now()
        if not self.options.exits_when_done:
            until += self.options.shutdown_timeout
        while True:
            # Again and again: a performer may have been about to pass one on.
            self._give_back()
            try:
                self._collect()
                self.in_flight.record()
                self.in_flight.progress.write()
                if self.lease.lost and not self.stop_event.is_set():
                    return
                if self.in_flight.is_empty:
                    self._tell_observer()
                    break
            except Error as error:
                tries -= self.in_flight.is_idle
                if tries <= 0 and (now() >= until or not self.in_flight.has_performed):
                    self._leave(type(error).__name__)
                    return
                self.outages.wait(error)
            self._rest(STILL_BUSY)
        self.in_flight.statistics.flush()
        try:
            self.maintenance.end()
            if self._owns_nothing(me):
                self.store.workers.deregister(me.pk)
            else:
                self._leave("what it had claimed is locked")
        except Error as error:
            self._leave(type(error).__name__)

    def _owns_nothing(self, me: Worker) -> bool:
        """Give back what it may own without knowing; False if somebody else keeps it from that."""
        for has_tried in range(LAST_TRIES):
            if self._unknown is Unknown.NOTHING:
                break
            if has_tried:
                self._rest(STILL_BUSY)
            self._release_unknown(me)
        return self._unknown is Unknown.NOTHING

    def _leave(self, why: str) -> None:
        # Its lease will run out, and another worker takes back what it held.
        logger.warning("the worker ended without saying goodbye to the database: %s", why)
