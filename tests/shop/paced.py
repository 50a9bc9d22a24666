"""Targets whose calls come in bursts."""

from __future__ import annotations

from datetime import timedelta

from async_attempts import attemptable


@attemptable(debounce=timedelta(hours=1), max_wait=timedelta(hours=2), queue="emails")
def reindex(number: int) -> None:
    """Puts a product into the search index."""


@attemptable(throttle=timedelta(hours=1))
def recount_stock(number: int) -> None:
    """Counts what is left in the warehouse."""
