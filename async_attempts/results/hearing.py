"""Hearing that attempts have ended, on PostgreSQL: one session for all who wait in a process.

Whoever ends attempts, or writes their progress, notifies while somebody here holds the gate
`ENDED`: see `store.gate`. Where this can't be had, those who wait poll, as they do anyway.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from django.db import connections

from ..store import gate
from ..store.listener import Listener, params_of
from ..store.look_rate import LookRate

logger = logging.getLogger("async_attempts")

LINGER: Final = 3.0
"""Seconds after the last one who waited; until then the session is there for the next."""

SHORTEST: Final = 0.01
LONGEST: Final = 0.25
"""Seconds between two tries to take the gate; no sleep is longer."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 15.0
"""Seconds between two tries to connect."""

NAME: Final = "hearing"

Wake = Callable[[], None]


class Hearing:
    """Has a thread and a session from the first who joins until some seconds after the last.

    Without locks: a target that waits may be told anywhere that its timeout is over, and one that
    was left taken would keep all others waiting.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._wakes: set[Wake] = set()
        self._left_at = 0.0
        self._thread: dict[str, threading.Thread] = {}
        self._listener: Listener | None = None
        self._is_closed = False

    def join(self, wake: Wake) -> None:
        """From now on `wake`, which takes no locks, is called, in another thread, when something
        may have ended.
        """
        self._wakes.add(wake)
        if not self._thread:
            thread = threading.Thread(target=self._live, name=NAME, daemon=True)
            # One of those who come at the same time starts it.
            if self._thread.setdefault(NAME, thread) is thread:
                self._start(thread)

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError as error:
            # The process may have no more threads, or is about to end.
            logger.info("who waits for attempts polls: %s", error)
        finally:
            if not thread.is_alive():
                # The next one who joins tries again.
                self._thread.pop(NAME, None)

    def leave(self, wake: Wake) -> None:
        """Don't call it any more."""
        self._wakes.discard(wake)
        self._left_at = time.monotonic()

    def close(self) -> None:
        """End the session now; who still waits polls."""
        self._is_closed = True
        for thread in list(self._thread.values()):
            thread.join()

    def _live(self) -> None:
        pause = FIRST_PAUSE
        while not self._ends():
            try:
                with self._session() as listener:
                    pause = FIRST_PAUSE
                    self._listen(listener)
            except Exception as error:  # noqa: BLE001 whatever it is, polling goes on
                logger.info("who waits for attempts polls: %s", type(error).__name__)
                self._rest(pause * random.uniform(0.5, 1))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _ends(self) -> bool:
        """Whether nobody waits any more; the next one begins a thread of its own then."""
        if self._is_wanted():
            return False
        self._thread.clear()
        if not self._is_wanted():
            return True
        # Somebody has joined who may still have seen this one.
        me = threading.current_thread()
        return self._thread.setdefault(NAME, me) is not me

    def _is_wanted(self) -> bool:
        """Whether somebody waits, or may soon do so."""
        is_soon = time.monotonic() < self._left_at + LINGER
        return not self._is_closed and (bool(self._wakes) or is_soon)

    @contextmanager
    def _session(self) -> Iterator[Listener]:
        listener = self._listener = Listener(params_of(connections[self._alias]), gate.ENDED)
        try:
            yield listener
        finally:
            self._listener = None
            with suppress(Exception):
                listener.close()

    def _listen(self, listener: Listener) -> None:
        is_sentinel = is_beside = False
        pause = SHORTEST
        rate = LookRate()
        while self._is_wanted():
            if not is_sentinel and not rate.seconds:
                rate.take()
                was_beside = is_beside
                answer = listener.ask(gate.taking_gate(gate.ENDED))
                is_sentinel, is_beside = answer == gate.SENTINEL, answer == gate.BESIDE
                if is_sentinel or (is_beside and not was_beside):
                    # Whoever has passed the gate before has ended: who looks now sees it.
                    self._wake_all()
                pause = min(2 * pause, LONGEST) if answer == gate.OPEN else LONGEST
            listener.wait(pause if is_sentinel else min(pause, rate.seconds or pause))
            if listener.heard():
                self._wake_all()
        if is_sentinel:
            listener.ask(gate.leaving_gate(gate.ENDED))

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._is_wanted() and time.monotonic() < until:
            time.sleep(LONGEST)

    def _wake_all(self) -> None:
        for wake in list(self._wakes):
            wake()


_hearings: Final[dict[str, Hearing]] = {}
_parents_hearings: Final[list[Hearing]] = []
"""Inherited by a fork, and never touched: to end their sessions is the parent's affair."""


def hearing_on(alias: str) -> Hearing | None:
    """The one of this process for that database; None where nothing is notified."""
    if not gate.notifies(connections[alias]):
        return None
    return _hearings.get(alias) or _hearings.setdefault(alias, Hearing(alias))


def stop_hearing() -> None:
    """End the sessions of this process now: such as before their database is dropped."""
    while _hearings:
        _hearings.popitem()[1].close()


def _forget_parents() -> None:
    _parents_hearings.extend(_hearings.values())
    _hearings.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
