"""Targets whose calls come in bursts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from async_attempts import attemptable


@attemptable(debounce=timedelta(hours=1), max_wait=timedelta(hours=2), key="all", queue="emails")
def reindex(number: int) -> None:
    """Puts a product into the search index."""


@attemptable(throttle=timedelta(hours=1), key="all")
def recount_stock(number: int) -> None:
    """Counts what is left in the warehouse."""


@attemptable(debounce=timedelta(hours=1), key=lambda product, **_: product)
def index(product: int, *, language: str = "en") -> None:
    """Puts one product into the search index."""


@attemptable(one_of=lambda table, **_: table)
def export(table: object, *, user: int = 0) -> None:
    """Exports a table; one export of it at a time is enough."""


REMINDING: Final[Any] = {"one_of": True, "when_taken": "replace", "delay": timedelta(hours=1)}


@attemptable(**REMINDING)
def remind(number: int) -> None:
    """Reminds of the last thing only."""


def made_of(*args: Any) -> Any:
    """Makes the key of the two below; tests put another one in its place."""
    return args


def _made(*args: Any) -> Any:
    return made_of(*args)


@attemptable(one_of=_made)
def export_made(number: int) -> None:
    """Exports."""


@attemptable(debounce=timedelta(hours=1), key=_made)
def index_made(number: int) -> None:
    """Indexes."""


@attemptable(throttle=timedelta(hours=1))
def tidy_up() -> None:
    """Throws away what nobody needs."""
