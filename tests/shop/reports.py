"""Targets that have opinions of their own about queue, priority, time and result."""

from __future__ import annotations

from datetime import timedelta

from async_attempts import attemptable


@attemptable(
    queue="emails",
    priority="high",
    keep_result=True,
    delay=timedelta(hours=2),
    expires_after=timedelta(hours=4),
)
def report(note: str = "") -> str:
    return note


@attemptable(priority=7, max_attempts=3, timeout=9)
def recount() -> None:
    """Counts again."""
