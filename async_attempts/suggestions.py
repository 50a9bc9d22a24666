"""The word that somebody may have meant."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable
from typing import Final

from .exceptions import InvalidSetting

IGNORED: Final = ("Mn", "Cf", "Cc")
"""Categories of what most collations pass over: accents, and what has no glyph."""


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


def refuse_alike(place: str, names: Iterable[str]) -> None:
    """Raise InvalidSetting for two names that differ, and are one for most of MySQL's collations.

    They do so in case, accents, and spaces at the end.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(_folded(name), name)) != name:
            raise InvalidSetting(
                f"{place}: {other!r} and {name!r} differ in nothing but case, accents or spaces at "
                "the end, and MySQL and MariaDB take them for one name; rename one of the two."
            )


def _folded(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    kept = (c for c in decomposed if unicodedata.category(c) not in IGNORED)
    return "".join(kept).casefold().rstrip()
