"""Wake-ups of an idle worker by notifications, beside its polls.

Polling is the truth, notifications only shorten it. `store.notifications` says who notifies and
when; this is an idle worker's side. It listens. It sleeps long only as the sentinel, or beside a
sentinel, and only after a poll that began after it had found that out, and that found nothing. What
becomes due after that poll is notified, or the sentinel lets go, which notifies, too. A sentinel
that dies notifies nobody; the next poll finds that out.

Any role of the database can notify. After some notifications that found nothing, a worker ignores
them for some milliseconds after each, so that a flood of them costs its database few polls.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from ...conf import settings
from ...pauses import Pauses
from ...store import Store, notifications
from ...store.notifications import Listener, LookRate, params_of

logger = logging.getLogger("async_attempts")

WITH_NOTIFICATIONS: Final = 5.0
WITHOUT: Final = 1.0
SHORTEST: Final = 0.05

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
"""Seconds between two tries to connect a listener."""

_parents_listeners: Final[list[Listener]] = []
"""Listeners that a fork inherits and never touches: to end a session is the parent's affair."""


class WakeUp:
    """Listens for notifications, for one worker and in one thread.

    Its loop calls `notified()` before each poll, `longest_sleep()` after one that found nothing,
    `busy()` after any other. On PostgreSQL it owns a connection, from `longest_sleep()` on.
    """

    _is_sentinel: bool
    _is_beside: bool
    _is_out: bool
    _heard: bool
    _busy_in_a_row: int

    def __init__(self, store: Store, interval: float | None) -> None:
        """`interval`: seconds between an idle worker's polls; None: as the setting POLL_INTERVAL
        says, else 5 with notifications, 1 without them."""
        self.store = store
        self.interval = interval or settings().POLL_INTERVAL
        self._rate = LookRate()
        self._short_sleeps = Pauses(SHORTEST, WITHOUT, jitter=0.0)
        self._listens = notifications.notifies(store.database.connection)
        self._start()

    def fileno(self) -> int | None:
        """The socket to be watched while asleep; None while nothing is listened to."""
        listener = self._own_listener()
        return None if listener is None or self.deafness else listener.fileno()

    @property
    def deafness(self) -> float:
        """Seconds for which notifications are left in the socket; 0.0 if they aren't."""
        return self._rate.seconds

    def longest_sleep(self) -> float:
        """Return the seconds after which to poll again; called after a poll that found nothing.

        0.0: poll once more before any sleep.
        """
        if not self._listens:
            return self.interval or WITHOUT
        return max(self._next_sleep(), self.deafness)

    def _next_sleep(self) -> float:
        try:
            listener = self._own_listener() or self._new_listener()
            if listener is None:
                return self._short_sleep()
            return self._sleep_by_gate(listener)
        except Exception as error:
            self._lost(error)
            return self._short_sleep()

    def notified(self) -> bool:
        """Return True if a notification came since the last poll; never waits.

        True also when the connection was lost, and with it perhaps a notification. What comes
        while it is deaf is told afterwards.
        """
        if self.deafness:
            return False
        self._hear()
        heard, self._heard = self._heard, False
        if heard:
            self._rate.take()
        return heard

    def busy(self) -> None:
        """Note that a claim found work.

        A sentinel keeps the gate for the first that it finds, and by the second in a row lets go,
        with a NOTIFY, so that an idle neighbour takes over: one attempt now and then costs neither
        of them a statement.
        """
        self._short_sleeps.reset()
        self._is_beside = False
        self._rate.found()
        self._hear()
        self._busy_in_a_row += 1
        if self._is_sentinel and self._busy_in_a_row > 1:
            self._let_go()

    def close(self) -> None:
        """Let go, and close the connection; never raises."""
        listener = self._own_listener()
        self._reconnector.close()
        if listener is not None:
            if self._is_sentinel:
                self._let_go()
            with suppress(Exception):
                listener.close()
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._listener: Listener | None = None
        self._reconnector = Reconnector(self._params)
        self._is_sentinel = False
        self._is_beside = False
        self._is_out = False
        self._heard = False
        self._busy_in_a_row = 0
        self._short_sleeps.reset()

    def _params(self) -> Mapping[str, Any]:
        return params_of(self.store.database.connection)

    def _own_listener(self) -> Listener | None:
        if self._process != os.getpid():
            if self._listener is not None:
                _parents_listeners.append(self._listener)
            self._start()
        return self._listener

    def _new_listener(self) -> Listener | None:
        self._listener = self._reconnector.came()
        if self._listener is not None:
            self._short_sleeps.reset()
            if self._is_out:
                self._is_out = False
                logger.info("the worker listens for notifications again")
        return self._listener

    def _sleep_by_gate(self, listener: Listener) -> float:
        self._busy_in_a_row = 0
        if self._is_sentinel:
            heard, self._heard = self._heard, False
            return 0.0 if heard else self._long_sleep
        was_beside = self._is_beside
        answer = listener.ask(notifications.taking_gate())
        self._is_sentinel = answer == notifications.SENTINEL
        self._is_beside = answer == notifications.BESIDE
        if answer == notifications.OPEN:
            return self._short_sleep()
        self._short_sleeps.reset()
        self._hear()
        if self._is_sentinel or not was_beside or self._heard:
            self._heard = False
            return 0.0
        return self._long_sleep

    @property
    def _long_sleep(self) -> float:
        return self.interval or WITH_NOTIFICATIONS

    def _short_sleep(self) -> float:
        return min(self._short_sleeps.next(), self.interval or WITHOUT)

    def _hear(self) -> None:
        """Read the notifications that have come; the sentinel may have changed with them."""
        listener = self._own_listener()
        if listener is None:
            return
        try:
            heard = listener.heard()
        except Exception as error:
            self._lost(error)
            heard = True
        if heard:
            self._heard = True
            self._is_beside = False
            self._short_sleeps.reset()

    def _let_go(self) -> None:
        self._is_sentinel = False
        if self._listener is not None:
            try:
                self._listener.ask(notifications.leaving_gate())
            except Exception as error:
                self._lost(error)

    def _lost(self, error: Exception) -> None:
        listener, self._listener = self._listener, None
        self._is_sentinel = self._is_beside = False
        self._reconnector.pause()
        if not self._is_out:
            self._is_out = True
            logger.warning(
                "the worker can't listen for notifications, and polls each second: %s",
                type(error).__name__,
            )
        if listener is not None:
            with suppress(Exception):
                listener.close()


class Reconnector:
    """Gets a Listener in a thread, so that a network without answers holds up no loop."""

    def __init__(self, params: Callable[[], Mapping[str, Any]]) -> None:
        self._params = params
        self._came: SimpleQueue[Listener | Exception] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pauses = Pauses(FIRST_PAUSE, LONGEST_PAUSE)
        self._next_try = 0.0
        self._closed = False

    def came(self) -> Listener | None:
        """The new one, if there is one by now. Raises once, for each try, why there is none."""
        if self._thread is None:
            if time.monotonic() >= self._next_try:
                # Here, not in that thread: the parameters are those of this thread's connection.
                self._thread = threading.Thread(
                    target=self._connect, args=[self._params()], name="listener", daemon=True
                )
                self._thread.start()
            return None
        try:
            outcome = self._came.get_nowait()
        except Empty:
            return None
        self._thread = None
        if isinstance(outcome, Exception):
            raise outcome
        self._pauses.reset()
        return outcome

    def pause(self) -> None:
        """Wait before the next try, longer each time, with jitter."""
        self._next_try = time.monotonic() + self._pauses.next()

    def close(self) -> None:
        """Close what may still come."""
        self._closed = True
        self._close_those_that_came()

    def _connect(self, params: Mapping[str, Any]) -> None:
        try:
            self._came.put(Listener(params))
        except Exception as error:
            self._came.put(error)
        if self._closed:
            self._close_those_that_came()

    def _close_those_that_came(self) -> None:
        with suppress(Empty):
            while True:
                outcome = self._came.get_nowait()
                if isinstance(outcome, Listener):
                    outcome.close()
