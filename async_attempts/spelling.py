"""The word that somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from .exceptions import InvalidSetting


def nearest(word: str, known: Iterable[str]) -> str:
    """The words that `word` may have been meant to be, as the end of a sentence."""
    names = sorted(known)
    near = difflib.get_close_matches(word.casefold(), {name.casefold() for name in names}, n=1)
    for name in names:
        if near and name.casefold() == near[0]:
            return f"did you mean {name!r}"
    return "known are " + ", ".join(map(repr, names))


def refuse_unknown(place: str, given: Iterable[object], known: Collection[str]) -> None:
    """Raise InvalidSetting for the first of `given`, keys of `place`, that isn't among `known`."""
    for key in given:
        if key not in known:
            raise InvalidSetting(f"{place}[{key!r}] is unknown; {nearest(str(key), known)}.")
