"""Watching how an attempt gets on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from datetime import timedelta

from asgiref.sync import sync_to_async

from ..lifecycle import GONE
from ..models import AbstractAttempt
from ..models.progress import Progress
from .outcomes import Found
from .polling import Poll, wait_async


async def watch(
    attempt: AbstractAttempt,
    timeout: float | timedelta | None = None,
) -> AsyncGenerator[Progress, None]:
    """Yield its progress, now and whenever it changes, until its end; see `Attempt.watch`."""
    last = Progress(None, "", "")

    def has_changed(found: Collection[Found]) -> bool:
        return any(_progress(one, last) != last for one in found)

    poll = Poll([attempt], has_changed, timeout)
    while not last.is_over:
        await wait_async(poll)
        found = await sync_to_async(poll.answer)()
        last = _progress(found[attempt.pk], last)
        yield last


def _progress(found: Found, last: Progress) -> Progress:
    """Return its progress; the last one known if it was deleted."""
    if found.row is None:
        return Progress(last.percent, last.note, GONE)
    return Progress(found.row.progress, found.row.progress_note, found.state)
