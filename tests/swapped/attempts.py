"""Targets, found by autodiscovery."""

from __future__ import annotations

from async_attempts import Backoff, Ending, attemptable


@attemptable(keep_result=True)
def ship(number: int) -> str:
    return f"shipped {number}"


@attemptable(backoff=Backoff(max_attempts=1))
def lose(number: int) -> str:
    raise LookupError(number)


@attemptable
def mark_undelivered(ending: Ending) -> None:
    """It follows a delivery that has failed."""


@attemptable(on_failed=mark_undelivered)
def deliver() -> None:
    """It is followed."""
