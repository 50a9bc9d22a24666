"""How far executions are, from `set_progress` to the database.

A target only leaves here what it says: the newest counts. The thread that claims and records writes
it, so that a target may say it anywhere, in a transaction of its own or on an event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from django.db import Error, transaction

from ... import signals
from ...store import Claim, Said, Store
from ...store.transactions import refused
from ..shared.shared_memory import now
from .announcer import Announcer, AtOnce

logger = logging.getLogger("async_attempts")

PAUSE: Final = 0.5
"""Seconds between two writes."""

_T = TypeVar("_T")

Key = tuple[bytes, int]


class UnwrittenProgress:
    """What was said and isn't written yet."""

    def __init__(self, store: Store, announcer: Announcer | None = None) -> None:
        self._store = store
        self._announcer = announcer or AtOnce()
        self._said: dict[Key, Said] = {}
        # Of those that run atomically: their own transaction holds their row.
        self._held: dict[Key, Said] = {}
        self._written_at = 0.0
        self.wake: Callable[[], None] | None = None

    # --- by those who perform

    def say(self, said: Said) -> None:
        """To be written soon."""
        is_first = not self._said
        self._said[said.claim.fence] = said
        if is_first and self.wake is not None:
            self.wake()

    def hold(self, said: Said) -> None:
        """To be written with the outcome."""
        self._held[said.claim.fence] = said

    def write_within(self, claim: Claim) -> None:
        """Write what was held, in the transaction that is open: the attempt's own."""
        if (said := self._held.get(claim.fence)) is None:
            return
        try:
            # What is refused mustn't take along what the target has done.
            with transaction.atomic(self._store.alias):
                self._store.write_progress_within([said])
        except Error as error:
            if not refused(error):
                raise
            del self._held[claim.fence]
            logger.error("%s: the database refuses a progress: %s", claim, type(error).__name__)

    def committed(self, claim: Claim) -> None:
        """That transaction is committed."""
        if (said := self._held.pop(claim.fence, None)) is not None:
            self._announce([said])

    # --- by the one who records

    def write(self) -> None:
        """Write what was said, not more often than each PAUSE."""
        if not self._said or now() < self._written_at + PAUSE:
            return
        self._written_at = now()
        said = self._taken(self._said.copy())
        with self._kept_in_outages(said):
            for written, locked in _unless_refused(self._store.try_to_write_progress, said):
                self._put_back(locked)
                self._announce(written)

    def write_last(self, claims: Iterable[Claim]) -> Collection[Key]:
        """Write what these said last: they are to be recorded.

        Returns the fences of those whose rows somebody else locks: nothing of them is written.
        """
        locked: set[Key] = set()
        if not (self._said or self._held):
            return locked
        keys = [claim.fence for claim in claims]
        # Of what was held the transaction was rolled back; it is as true as ever.
        said = self._taken(keys) + self._taken(keys, self._held)
        if said:
            with self._kept_in_outages(said):
                for written, left in _unless_refused(self._store.write_progress, said):
                    self._put_back(left)
                    self._announce(written)
                    locked.update(one.claim.fence for one in left)
        return locked

    def _announce(self, written: Iterable[Said]) -> None:
        """Tell those who want to know; the write is committed."""
        if signals.progressed.receivers:
            for claim, percent, note in written:
                self._announcer.announce(
                    signals.progressed, UnwrittenProgress, claim=claim, percent=percent, note=note
                )

    def _taken(self, keys: Iterable[Key], source: dict[Key, Said] | None = None) -> list[Said]:
        there = self._said if source is None else source
        return [said for key in keys if (said := there.pop(key, None)) is not None]

    @contextmanager
    def _kept_in_outages(self, said: Iterable[Said]) -> Iterator[None]:
        try:
            yield
        except Error:
            self._put_back(said)
            raise

    def _put_back(self, said: Iterable[Said]) -> None:
        """For the next time, unless something newer was said meanwhile."""
        for one in said:
            self._said.setdefault(one.claim.fence, one)


def _unless_refused(write: Callable[[Sequence[Said]], _T], said: Sequence[Said]) -> list[_T]:
    """`write` all at once, or one by one when the database refuses what one of them says."""
    try:
        return [write(said)]
    except Error as error:
        if not refused(error):
            raise
        if len(said) > 1:
            return [written for one in said for written in _unless_refused(write, [one])]
        # Nobody's outcome depends on it.
        logger.error("%s: the database refuses a progress: %s", said[0].claim, type(error).__name__)
        return []
