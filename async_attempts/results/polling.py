"""Waiting for attempts: one of the callers that wait in a process asks the database for all.

There is no thread and no connection for it: the poll that has waited longest looks when a look is
due, by the connection of its thread, and hands out what it found. If it ends, by a timeout, a
cancellation or a lost connection, the next one looks.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final
from uuid import UUID
from weakref import ref

from asgiref.sync import sync_to_async
from django.db import connections
from django.utils.asyncio import async_unsafe

from ..exceptions import InvalidOption
from ..models import AbstractAttempt
from ..models.ports import Timeout
from ..models.saving import database_of
from ..models.validation import timeout_seconds
from ..store import store_for
from ..store.transactions import refuse_waiting_in_block
from .outcomes import DELETED, Found, find

FIRST: Final = 0.005
GROWTH: Final = 1.5
LONGEST: Final = 0.25
"""Seconds between two looks at a database."""

SPACING: Final = 0.05
"""Seconds: no poll waits longer for its first look, or beyond its deadline for its last one. Those
of many that join or give up at about the same time are one look."""

PATIENCE: Final = 0.5
"""Seconds after which any poll makes up for a look that is due."""

NEVER: Final = float("-inf")


class Poll:
    """The wait of one caller, until enough is known of some attempts or its time is over.

    No locks: the timeout of a target that waits may be raised anywhere in its thread.
    """

    def __init__(
        self,
        attempts: Sequence[AbstractAttempt],
        is_enough: Callable[[Collection[Found]], bool],
        timeout: Timeout,
    ) -> None:
        """`is_enough`: takes what was found of the attempts, and says if the others needn't end; it
        must not refer to the poll. `timeout`: seconds or a timedelta; None: for ever.
        Raises InvalidOption.
        """
        self._attempts = attempts
        self._awaited: defaultdict[str, list[UUID]] = defaultdict(list)
        for attempt in attempts:
            self._awaited[_alias_of(attempt)].append(attempt.pk)
        self._is_enough = is_enough
        self._timeout = timeout_seconds(timeout)
        self._deadline = time.monotonic() + self._timeout
        self._joined_at = NEVER
        self._told_at = dict.fromkeys(self._awaited, NEVER)
        self._pollers: dict[str, Poller] = {}
        self._found: dict[UUID, Found] = {}
        self.is_answered = False
        self.wake: Callable[[], None] = _nobody_sleeps

    @property
    def is_over(self) -> bool:
        """True if enough is known, or a look at each database began after the deadline."""
        return self.is_answered or all(at >= self._deadline for at in self._told_at.values())

    def answer(self) -> dict[UUID, Found]:
        """Return what was found of each attempt. Raises TimeoutError if it isn't enough."""
        # Another thread may still tell more.
        found = dict(self._found)
        if self._answers(found):
            return found
        left = [a for a in self._attempts if not found[a.pk].is_over]
        told = f"{left[0]} {left[0].pk} is {found[left[0].pk].state}"
        if len(self._attempts) > 1:
            told = f"{len(left)} of {len(self._attempts)} attempts haven't ended: {told}"
        raise TimeoutError(f"After {self._timeout:g} s {told}.")

    def join(self) -> None:
        """Begin to wait, and look if it is its turn. Raises WaitingInTransaction."""
        for alias in self._awaited:
            refuse_waiting_in_block(alias)
        self.is_answered = self._answers(self._found)
        self._joined_at = time.monotonic()
        for alias in self._awaited:
            self._pollers[alias] = poller_for(alias)
            self._pollers[alias].join(self)
        self.look()

    def leave(self) -> None:
        """Wait no more."""
        for poller in list(self._pollers.values()):
            poller.leave(self)

    def look(self) -> None:
        """Look at each database where it is its turn."""
        for poller in list(self._pollers.values()):
            if not self.is_over and poller.seconds_until_turn(self) <= 0:
                poller.look()

    def pause(self) -> float:
        """Seconds until its next turn anywhere."""
        return min(poller.seconds_until_turn(self) for poller in self._pollers.values())

    def awaited_on(self, alias: str) -> list[UUID]:
        """The attempts that haven't ended."""
        return self._awaited[alias]

    def needs_look_since(self, alias: str) -> float:
        """The earliest begin of the look that this poll needs next: its first, or its last."""
        is_told = self._told_at[alias] >= self._joined_at
        return self._deadline if is_told else self._joined_at

    def tell(self, poller: Poller, found: Mapping[UUID, Found], looked_at: float) -> None:
        """Take what a look, which began at that moment, has found of all attempts."""
        alias = poller.alias
        if self.is_answered or looked_at < self._told_at[alias]:
            return
        self._told_at[alias] = looked_at
        awaited = self._awaited[alias]
        if poller.is_shared and not found.keys() >= set(awaited):
            self._go_alone(poller)
            return
        self._found.update((pk, found.get(pk, DELETED)) for pk in awaited)
        self._awaited[alias] = [pk for pk in awaited if not self._found[pk].is_over]
        self.is_answered = self._answers(dict(self._found))
        if self.is_over:
            self.wake()

    def _answers(self, found: Mapping[UUID, Found]) -> bool:
        have_ended = all(a.pk in found and found[a.pk].is_over for a in self._attempts)
        return have_ended or self._is_enough(found.values())

    def _go_alone(self, poller: Poller) -> None:
        """Ask by its own connection for what another one doesn't see: it may be in a transaction,
        or another tenant's.
        """
        alone = self._pollers[poller.alias] = Poller(poller.alias, is_shared=False)
        self._told_at[poller.alias] = NEVER
        poller.leave(self)
        alone.join(self)
        self.wake()


class Poller:
    """The polls of this process that wait for attempts of one database; one looks for all."""

    def __init__(self, alias: str, *, is_shared: bool = True) -> None:
        self.alias = alias
        self.is_shared = is_shared
        # The eldest first. Weak: one that ends without leaving waits no more, either.
        self._polls: dict[ref[Poll], None] = {}
        self._pause = FIRST
        self._has_answered = False
        self._looked_at = self._due = NEVER

    def join(self, poll: Poll) -> None:
        """Look for this one, too: soon, and then less and less often."""
        if not self._polls:
            self._looked_at, self._due, self._pause = NEVER, time.monotonic(), FIRST
        # Of many that join together only the first resets the pause, unless some have answers.
        begins_anew = self._has_answered or self._pause == LONGEST
        self._pause = FIRST if begins_anew else min(self._pause, SPACING)
        self._has_answered = False
        self._polls[ref(poll, self._forget)] = None

    def leave(self, poll: Poll) -> None:
        """Look for this one no more; the eldest of the others may have to look now."""
        self._forget(ref(poll))
        for other in self._present()[:1]:
            other.wake()

    def seconds_until_turn(self, poll: Poll) -> float:
        """Seconds until this poll has to look for all, unless another one has done so."""
        is_eldest = next(iter(list(self._polls)), None) == ref(poll)
        due = self._due if is_eldest else self._due + PATIENCE
        soon = self._looked_at + min(self._pause, SPACING) if len(self._polls) > 1 else NEVER
        return min(due, max(soon, poll.needs_look_since(self.alias))) - time.monotonic()

    def look(self) -> None:
        """Ask once for all, and tell each what was found of its attempts."""
        looked_at = self._looked_at = time.monotonic()
        self._due = looked_at + self._pause
        polls = self._present()
        awaited = dict.fromkeys(pk for poll in polls for pk in poll.awaited_on(self.alias))
        found = find(store_for(self.alias), awaited)
        self._due = time.monotonic() + self._pause
        self._pause = min(self._pause * GROWTH, LONGEST)
        for poll in polls:
            poll.tell(self, found, looked_at)
        self._has_answered |= any(poll.is_answered for poll in polls)
        # It may sleep until another moment than that.
        for poll in polls[:1]:
            poll.wake()

    def _present(self) -> list[Poll]:
        return [poll for one in list(self._polls) if (poll := one()) is not None]

    def _forget(self, one: ref[Poll]) -> None:
        self._polls.pop(one, None)


_pollers: Final[dict[str, Poller]] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pollers.clear)


def poller_for(alias: str) -> Poller:
    """Return this process's poller of that database; a private one within a `TestCase`'s block."""
    if connections[alias].in_atomic_block:
        return Poller(alias, is_shared=False)
    return _pollers.get(alias) or _pollers.setdefault(alias, Poller(alias))


@async_unsafe
def wait(poll: Poll) -> None:
    """Wait until the poll is over. Raises WaitingInTransaction, SynchronousOnlyOperation."""
    woken: SimpleQueue[None] = SimpleQueue()
    poll.wake = partial(woken.put, None)
    try:
        poll.join()
        while not poll.is_over:
            if (pause := poll.pause()) > 0:
                _sleep(woken, pause)
            poll.look()
    finally:
        poll.leave()


async def wait_async(poll: Poll) -> None:
    """`wait` that keeps no event loop waiting."""
    woken, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(woken.set)

    poll.wake = wake
    try:
        await sync_to_async(poll.join)()
        while not poll.is_over:
            if (pause := poll.pause()) > 0:
                # Not by `wait_for`, which swallows a cancellation before Python 3.12.
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await woken.wait()
                woken.clear()
            else:
                await sync_to_async(poll.look)()
    finally:
        poll.leave()


def _sleep(woken: SimpleQueue[None], seconds: float) -> None:
    with suppress(Empty):
        woken.get(timeout=seconds)
        while True:
            woken.get_nowait()


def _nobody_sleeps() -> None:
    """Wake a poll that nobody waits with yet."""


def _alias_of(attempt: object) -> str:
    """Return its database's alias. Raises InvalidOption for anything but an enqueued attempt."""
    if not isinstance(attempt, AbstractAttempt):
        raise InvalidOption(f"Only attempts can be waited for, not a {type(attempt).__name__}.")
    if attempt._state.adding:
        raise InvalidOption(f"{attempt} was not enqueued, so nobody performs it.")
    return database_of(attempt)
