"""Targets, found by autodiscovery."""

from __future__ import annotations

from async_attempts import Backoff, attemptable


@attemptable(keep_result=True)
def ship(number: int) -> str:
    return f"shipped {number}"


@attemptable(backoff=Backoff(max_attempts=1))
def lose(number: int) -> str:
    raise LookupError(number)
