"""Polls of the database: when to ask, for which queues, and what the last poll found."""

from __future__ import annotations

from typing import Final

from ...store import Store
from ...store.missing_keys import PUT_OFF_AT_ONCE
from ..execution.missing_keys import MissingKeys
from ..shared.options import LONGEST_POLL
from ..shared.shared_memory import now
from .queue_filter import QueueFilter
from .wakeup import WakeUp

BUSY_INTERVAL: Final = 1.0
"""Seconds after which a busy worker polls, too: for scheduled attempts, and for suspects."""

LOCKED_PAUSE: Final = 0.05
"""Seconds before what other transactions lock is tried again."""

SOON: Final = 0.001

HEAD_PAUSE: Final = 0.25
"""Seconds between two batches of attempts that no worker can open, at the front of a queue."""


class Poller:
    """Decides when to poll, and if a claim could find anything: an idle worker claims nothing."""

    def __init__(
        self,
        store: Store,
        queue_filter: QueueFilter,
        wakeup: WakeUp | None,
        missing_keys: MissingKeys | None = None,
    ) -> None:
        """`wakeup` None: the worker ends when nothing is due."""
        self._store = store
        self.missing_keys = missing_keys or MissingKeys()
        self.queue_filter = queue_filter
        self._wakeup = wakeup
        self._next_poll = now() + BUSY_INTERVAL
        self._polled_at = 0.0
        self._saw_due = False
        """True if the last poll saw something due, and nothing was taken or given back since."""
        self.may_claim = True
        self.found_nothing = False
        self.suspects_seen_at = 0.0
        """The moment of the last poll if it found due suspects that can be claimed; else 0.0."""
        self.has_late_workers = False
        self.has_waiting = False
        """True if something waits for a slot of a limit key."""
        self.next_tick_at: float | None = None
        """The moment of a schedule's next tick, by this process's clock."""

    @property
    def socket(self) -> int | None:
        """The socket to watch while more can be claimed; None if there is none."""
        return None if self._wakeup is None else self._wakeup.fileno()

    @property
    def is_done(self) -> bool:
        """True if nothing is due, held back by limits, or to be visited again."""
        is_waiting = self.suspects_seen_at > 0 or self.queue_filter.any_held_back
        return self.found_nothing and not is_waiting and not self._store.database.revisits

    @property
    def has_polled(self) -> bool:
        return self._polled_at > 0

    @property
    def seconds(self) -> float:
        """The seconds until the next poll, or the next visit to what was passed over."""
        seconds = max(0.0, self._next_poll - now())
        if self._wakeup is not None and (deafness := self._wakeup.deafness):
            # Notifications are heeded again then.
            seconds = min(seconds, deafness)
        return self.at_most(seconds)

    def at_most(self, seconds: float) -> float:
        """Return `seconds`, or fewer if something that was passed over is to be visited before."""
        to_visit = self._store.database.revisits.seconds
        return seconds if to_visit is None else min(seconds, to_visit)

    def expect(self) -> None:
        """Poll soon: something may have become due, or suspect."""
        self.may_claim = True
        self.found_nothing = self._saw_due = False
        self._next_poll = min(self._next_poll, now() + SOON)

    def poll(self, *, has_room: bool) -> None:
        """Ask the database, if it is time to, whether a claim is worth its statement.

        `has_room`: what is found can be claimed; else the poll is for dead workers only.
        """
        poll_at = self._next_poll
        if has_room and self._wakeup is not None and self._wakeup.notified():
            self.may_claim = True
            # A claim is made at once; a poll only if the last one is a while ago.
            poll_at = max(poll_at, self._polled_at + BUSY_INTERVAL)
        if now() >= poll_at:
            self._poll(has_room)

    def took(self, claimed: int, wanted: int, *, may_have_more: bool = False) -> None:
        """Note the result of a claim; if partial, there may be more."""
        self.may_claim = claimed >= wanted or may_have_more
        if claimed and self._wakeup is not None:
            self._wakeup.busy()
            if self.may_claim:
                # All performers have work now, so the next notification is for another worker.
                self._wakeup.busy()
        self.found_nothing = not claimed and self._saw_due
        self._saw_due = False
        if not self.may_claim:
            self._next_poll = now() + (LOCKED_PAUSE if self.found_nothing else 0.0)

    def took_suspect(self, claimed: int) -> None:
        """Note the number of suspects that a claim took; the next poll tells if there are more."""
        self.suspects_seen_at = 0.0
        self.found_nothing = self._saw_due = False
        if claimed and not self.may_claim:
            self._next_poll = now()

    def _poll(self, has_room: bool) -> None:
        self._polled_at = now()
        is_head_clean = self._put_off_keyless()
        queue_state = self._store.claims.look(
            self.queue_filter.queues, self.missing_keys.passed_over
        )
        promoted = self._store.claims.promote() if queue_state.next_due == 0.0 else 0
        self._saw_due = queue_state.has_due
        resumed = self.queue_filter.pause(queue_state.paused)
        self.may_claim = self.may_claim or queue_state.has_due or promoted > 0 or resumed
        self.found_nothing = not (self.may_claim or queue_state.has_suspects)
        self._note_suspects(queue_state.has_suspects)
        self.has_late_workers = queue_state.has_late_workers
        self.has_waiting = queue_state.has_waiting
        wait = BUSY_INTERVAL
        if self.found_nothing and has_room and self._wakeup is not None:
            wait = self._wakeup.longest_sleep()
        if queue_state.next_due is not None:
            wait = min(wait, queue_state.next_due + SOON if queue_state.next_due else LOCKED_PAUSE)
        if (to_retry := self.queue_filter.seconds) is not None:
            wait = min(wait, to_retry + SOON)
        self.next_tick_at = None
        if (to_tick := queue_state.next_tick) is not None:
            self.next_tick_at = now() + (to_tick + SOON if to_tick else 0.0)
        if to_tick:
            wait = min(wait, to_tick + SOON)
        if not is_head_clean:
            wait = min(wait, HEAD_PAUSE)
        # A lease that runs out sends no notification.
        self._next_poll = now() + min(wait, LONGEST_POLL)

    def _put_off_keyless(self) -> bool:
        """Put off what no worker can open, first in its queue; False if there may be more."""
        if not (together := self.missing_keys.together):
            return True
        found = self._store.missing_keys.put_off(together, self.queue_filter.queues)
        self.missing_keys.note_put_off(together, found)
        return found.numbers.total() < PUT_OFF_AT_ONCE

    def _note_suspects(self, are_due: bool) -> None:
        """Look if the limits of their queues leave room for suspects, if any are due."""
        queues, passed_over = self.queue_filter.queues, self.missing_keys.passed_over
        can_claim = are_due and self._store.queues.any_suspect_fits(queues, passed_over)
        self.suspects_seen_at = now() if can_claim else 0.0

    def close(self) -> None:
        self._store.database.revisits.end()
        if self._wakeup is not None:
            self._wakeup.close()
