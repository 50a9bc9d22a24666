"""Waiting until attempts have ended, one or many of them, on one database or several."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from ..exceptions import (
    AttemptExpired,
    AttemptFailed,
    AttemptGone,
    AttemptUnsuccessful,
    InvalidOption,
)
from ..lifecycle import FINAL, GONE, Status
from ..models import AbstractAttempt
from ..store import store_for
from ..store.chunks import in_batches
from .endings import Ending, endings_of
from .pauses import Pauses
from .waiting import AsyncWait, Question, awaited_on, wait

Until: TypeAlias = Literal["all", "first", "settled"]
UNTIL: Final = ("all", "first", "settled")

ERROR_OF: Final[dict[str, type[AttemptUnsuccessful]]] = {
    Status.FAILED: AttemptFailed,
    Status.EXPIRED: AttemptExpired,
    GONE: AttemptGone,
}


class Ends(Question):
    """How did these end? Those that have are asked for no more."""

    def __init__(self, attempts: Sequence[AbstractAttempt], until: Until) -> None:
        if until not in UNTIL:
            raise InvalidOption(f"until: must be one of {', '.join(UNTIL)}, not {until!r}.")
        if until == "first" and not attempts:
            raise InvalidOption("until: of no attempts at all none can be the first.")
        self._attempts = attempts
        self._until = until
        self._pending: defaultdict[str, list[UUID]] = defaultdict(list)
        for attempt in attempts:
            self._pending[awaited_on(attempt)].append(attempt.pk)
        self._states: dict[UUID, str] = {}
        self._endings: dict[UUID, Ending] = {}
        super().__init__(self._pending)

    def ask(self) -> bool:
        new = [ending for alias in self._pending for ending in self._new_endings(alias)]
        self._endings |= {ending.attempt_id: ending for ending in new}
        if not any(self._pending.values()):
            return True
        if self._until == "first":
            return any(ending.succeeded for ending in new)
        return self._until == "all" and not all(ending.succeeded for ending in new)

    def unanswered(self) -> str:
        left = [a for a in self._attempts if a.pk not in self._endings]
        told = f"{left[0]} {left[0].pk} is {self._states[left[0].pk]}"
        if len(self._attempts) == 1:
            return told
        return f"{len(left)} of {len(self._attempts)} attempts haven't ended: {told}"

    def answer(self) -> Any:
        """Return the results. Raises AttemptUnsuccessful, ResultNotKept."""
        in_order = [self._endings[a.pk] for a in self._attempts if a.pk in self._endings]
        if self._until == "settled":
            return in_order
        unsuccessful = [ending for ending in in_order if not ending.succeeded]
        successful = [ending for ending in in_order if ending.succeeded]
        if self._until == "first" and successful:
            return successful[0].result
        if unsuccessful:
            raise ERROR_OF[unsuccessful[0].status](unsuccessful[0])
        return [ending.result for ending in successful]

    def _new_endings(self, alias: str) -> Iterator[Ending]:
        """Of those that have ended since the last time."""
        store, pending = store_for(alias), self._pending[alias]
        states = dict.fromkeys(pending, GONE)
        for some in in_batches(pending):
            rows = store.database.attempts.filter(pk__in=some).only("status", "claimed_by")
            states |= {row.pk: row.state for row in rows}
        self._states |= states
        ended = [pk for pk, state in states.items() if state in FINAL or state == GONE]
        if not ended:
            return
        endings = endings_of(store, ended)
        # One may have been retried between the two looks.
        over = {pk for pk in ended if endings[pk].status in ERROR_OF or endings[pk].succeeded}
        self._pending[alias] = [pk for pk in pending if pk not in over]
        yield from (endings[pk] for pk in over)


def gather(
    *attempts: AbstractAttempt,
    until: Until = "all",
    timeout: float | timedelta | None = None,
) -> Any:
    """Wait for attempts, of any databases.

    `until`: "all" have succeeded: returns their results in order, and raises as soon as one has
    ended otherwise; the "first" has succeeded: returns its result, and raises when none can any
    more; they are "settled", all have ended: returns the list of their `Ending`s. `timeout`:
    seconds or a timedelta; None: for ever.
    Raises AttemptFailed, AttemptExpired, AttemptGone; ResultNotKept for a success whose result was
    not to be kept, unless they are only to be settled; TimeoutError; WaitingInTransaction, at once,
    inside an atomic block of one of their databases; InvalidOption.
    """
    ends = Ends(attempts, until)
    wait(ends, Pauses(timeout))
    return ends.answer()


async def agather(
    *attempts: AbstractAttempt,
    until: Until = "all",
    timeout: float | timedelta | None = None,
) -> Any:
    """`gather` for async code; the event loop isn't kept waiting."""
    ends, pauses = Ends(attempts, until), Pauses(timeout)
    try:
        await AsyncWait(ends, pauses).answered()
    finally:
        ends.end()
    return ends.answer()


def result(attempt: AbstractAttempt, timeout: float | timedelta | None = None) -> Any:
    """Wait until this one has ended; see `Attempt.result`."""
    return gather(attempt, timeout=timeout)[0]


async def aresult(
    attempt: AbstractAttempt,
    timeout: float | timedelta | None = None,
) -> Any:
    """Wait until this one has ended; see `Attempt.aresult`."""
    return (await agather(attempt, timeout=timeout))[0]
