"""Waiting until attempts have ended, one or many, on one database or several; and progress."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from asgiref.sync import sync_to_async

from ..exceptions import (
    AttemptExpired,
    AttemptFailed,
    AttemptGone,
    AttemptRefused,
    AttemptUnsuccessful,
    InvalidOption,
)
from ..lifecycle import GONE, Status
from ..models import AbstractAttempt
from ..models.ports import Progress, Timeout
from .outcomes import Ending, Found, ending_of
from .polling import Poll, wait, wait_async

Until: TypeAlias = Literal["all", "first", "settled"]

ERROR_OF: Final[dict[str, type[AttemptUnsuccessful]]] = {
    Status.FAILED: AttemptFailed,
    Status.EXPIRED: AttemptExpired,
    GONE: AttemptGone,
}

IS_ENOUGH: Final[Mapping[str, Callable[[Collection[Found]], bool]]] = {
    "all": lambda found: any(one.is_lost for one in found),
    "first": lambda found: any(one.succeeded for one in found),
    "settled": lambda _: False,
}
"""Functions, by `until`: True if there is nothing to wait for, though some haven't ended."""


def gather(*attempts: AbstractAttempt, until: Until = "all", timeout: Timeout = None) -> Any:
    """Wait for attempts, of any databases.

    `until`: "all" have succeeded: returns their results in order, and raises as soon as one has
    ended otherwise; the "first" has succeeded: returns its result, and raises when none can any
    more; they are "settled", all have ended: returns the list of their `Ending`s. `timeout`:
    seconds or a timedelta; None: for ever.
    Raises AttemptFailed, AttemptExpired, AttemptGone; ResultNotKept for a success whose result was
    not to be kept, unless they are only to be settled; TimeoutError; WaitingInTransaction, at once,
    inside an atomic block of one of their databases; InvalidOption.
    """
    poll = _poll(attempts, until, timeout)
    wait(poll)
    return _results(poll.answer(), attempts, until)


async def agather(*attempts: AbstractAttempt, until: Until = "all", timeout: Timeout = None) -> Any:
    """Wait as `gather` does, in async code; the event loop goes on."""
    poll = _poll(attempts, until, timeout)
    await wait_async(poll)
    return await sync_to_async(lambda: _results(poll.answer(), attempts, until))()


def result(attempt: AbstractAttempt, timeout: Timeout = None) -> Any:
    """Return its result, once it has ended; see `Attempt.result`."""
    return gather(attempt, timeout=timeout)[0]


async def aresult(attempt: AbstractAttempt, timeout: Timeout = None) -> Any:
    """Return its result, once it has ended; see `Attempt.aresult`."""
    return (await agather(attempt, timeout=timeout))[0]


async def watch(
    attempt: AbstractAttempt, timeout: Timeout = None
) -> AsyncGenerator[Progress, None]:
    """Yield its progress now and whenever that changes, until it has ended; see `Attempt.watch`."""
    last = Progress(None, "", "")

    def has_changed(found: Collection[Found]) -> bool:
        return any(_progress(one, last) != last for one in found)

    poll = Poll([attempt], has_changed, timeout)
    while not last.is_over:
        await wait_async(poll)
        found = await sync_to_async(poll.answer)()
        last = _progress(found[attempt.pk], last)
        yield last


def _poll(attempts: Sequence[AbstractAttempt], until: Until, timeout: Timeout) -> Poll:
    """Return the poll of these attempts. Raises InvalidOption."""
    if until not in IS_ENOUGH:
        raise InvalidOption(f"until: must be one of {', '.join(IS_ENOUGH)}, not {until!r}.")
    if until == "first" and not attempts:
        raise InvalidOption("until: of no attempts at all none can be the first.")
    return Poll(attempts, IS_ENOUGH[until], timeout)


def _results(found: Mapping[UUID, Found], attempts: Sequence[AbstractAttempt], until: Until) -> Any:
    """Return the results, or the endings. Raises AttemptUnsuccessful, ResultNotKept."""
    endings = [ending_of(a.pk, found[a.pk]) for a in attempts if found[a.pk].is_over]
    if until == "settled":
        return endings
    unsuccessful = [ending for ending in endings if not ending.succeeded]
    successful = [ending for ending in endings if ending.succeeded]
    if until == "first" and successful:
        return successful[0].result
    if unsuccessful:
        raise _error_of(unsuccessful[0])
    return [ending.result for ending in successful]


def _error_of(ending: Ending) -> AttemptUnsuccessful:
    return AttemptRefused(ending) if ending.refused else ERROR_OF[ending.status](ending)


def _progress(found: Found, last: Progress) -> Progress:
    """Return its progress; as before if it was deleted."""
    if found.row is None:
        return Progress(last.percent, last.note, GONE)
    return Progress(found.row.progress, found.row.progress_note, found.state)
