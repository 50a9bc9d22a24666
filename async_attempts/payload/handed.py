"""Placeholders in stored arguments for prerequisites' results or errors, which come later."""

from __future__ import annotations

from enum import Enum

from async_attempts.exceptions import UnknownFormat


class Handed(Enum):
    """The kind of value that an attempt is handed as its first positional argument."""

    RESULT = "result"
    RESULTS = "results"
    ERROR = "error"
    ENDINGS = "endings"


def load_handed(value: str) -> Handed:
    """Return the member with this value. Raises UnknownFormat for one of a newer release."""
    try:
        return Handed(value)
    except ValueError:
        raise UnknownFormat(
            "The stored arguments are to be handed something that this release doesn't know; a "
            "newer one may have written them.",
            "an unknown kind of result",
        ) from None
