"""Progress, from `set_progress()` to the database.

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
from ...store import Claim, ProgressReport, Store
from ...store.transactions import refused
from ..shared.shared_memory import now
from ..shared.wake_pipe import wake_nobody
from .announcer import Announcer, AtOnce

logger = logging.getLogger("async_attempts")

PAUSE: Final = 0.5
"""Seconds between two writes."""

_T = TypeVar("_T")

Key = tuple[bytes, int]


class UnwrittenProgress:
    """The progress that targets have reported, and that isn't written yet."""

    def __init__(
        self,
        store: Store,
        announcer: Announcer | None = None,
        wake: Callable[[], None] = wake_nobody,
    ) -> None:
        self._store = store
        self._announcer = announcer or AtOnce()
        self._said: dict[Key, ProgressReport] = {}
        # Reports of atomic executions, whose own transaction holds their row.
        self._held: dict[Key, ProgressReport] = {}
        self._written_at = 0.0
        self._wake = wake

    # --- called by performers

    def say(self, said: ProgressReport) -> None:
        """Note a report that is to be written soon."""
        is_first = not self._said
        self._said[said.claim.fence] = said
        if is_first:
            self._wake()

    def hold(self, said: ProgressReport) -> None:
        """Note a report that is to be written with the outcome."""
        self._held[said.claim.fence] = said

    def write_within(self, claim: Claim) -> None:
        """Write what was held, in the transaction that is open: the attempt's own."""
        if (said := self._held.get(claim.fence)) is None:
            return
        try:
            # A refused report mustn't take along what the target has done.
            with transaction.atomic(self._store.database.alias):
                self._store.progress.write_within([said])
        except Error as error:
            if not refused(error):
                raise
            del self._held[claim.fence]
            logger.error("%s: the database refuses a progress: %s", claim, type(error).__name__)

    def committed(self, claim: Claim) -> None:
        """Note that the attempt's own transaction is committed."""
        if (said := self._held.pop(claim.fence, None)) is not None:
            self._announce([said])

    # --- called by the thread that records

    def write(self) -> None:
        """Write what was said, not more often than each PAUSE."""
        if not self._said or now() < self._written_at + PAUSE:
            return
        self._written_at = now()
        said = _taken(self._said, self._said.copy())
        with self._kept_in_outages(said):
            for written, locked in _unless_refused(self._store.progress.try_to_write, said):
                self._put_back(locked)
                self._announce(written)

    def write_last(self, claims: Iterable[Claim]) -> Collection[Key]:
        """Write what these said last: they are to be recorded.

        Returns the fences of claims whose rows somebody else locks: nothing of them is written.
        """
        locked: set[Key] = set()
        if not (self._said or self._held):
            return locked
        keys = [claim.fence for claim in claims]
        # The transaction of a held report was rolled back; the report is as true as ever.
        said = _taken(self._said, keys) + _taken(self._held, keys)
        if said:
            with self._kept_in_outages(said):
                for written, left in _unless_refused(self._store.progress.write, said):
                    self._put_back(left)
                    self._announce(written)
                    locked.update(one.claim.fence for one in left)
        return locked

    def _announce(self, written: Iterable[ProgressReport]) -> None:
        """Announce progress whose write is committed."""
        if signals.progressed.receivers:
            for claim, percent, note in written:
                self._announcer.announce(
                    signals.progressed, UnwrittenProgress, claim=claim, percent=percent, note=note
                )

    @contextmanager
    def _kept_in_outages(self, said: Iterable[ProgressReport]) -> Iterator[None]:
        try:
            yield
        except Error:
            self._put_back(said)
            raise

    def _put_back(self, said: Iterable[ProgressReport]) -> None:
        """Keep it for the next write, unless the target has reported something newer."""
        for one in said:
            self._said.setdefault(one.claim.fence, one)


def _taken(source: dict[Key, ProgressReport], keys: Iterable[Key]) -> list[ProgressReport]:
    return [said for key in keys if (said := source.pop(key, None)) is not None]


def _unless_refused(
    write: Callable[[Sequence[ProgressReport]], _T], said: Sequence[ProgressReport]
) -> list[_T]:
    """`write` all at once, or one by one when the database refuses what one of them says."""
    try:
        return [write(said)]
    except Error as error:
        if not refused(error):
            raise
        if len(said) > 1:
            return [written for one in said for written in _unless_refused(write, [one])]
        # No outcome depends on it.
        logger.error("%s: the database refuses a progress: %s", said[0].claim, type(error).__name__)
        return []
