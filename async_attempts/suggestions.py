"""Suggestions for mistyped names, and errors for names that are too alike."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable
from typing import Final

from .exceptions import InvalidSetting

IGNORED: Final = ("Mn", "Cf", "Cc")
"""The Unicode categories that most collations ignore: accents, and characters without a glyph."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a suggestion for the unknown `word`, as the end of a sentence."""
    names = sorted(known)
    near = difflib.get_close_matches(word.casefold(), {name.casefold() for name in names}, n=1)
    for name in names:
        if near and name.casefold() == near[0]:
            return f"did you mean {name!r}"
    return "known are " + ", ".join(map(repr, names))


def refuse_unknown(path: str, given: Iterable[object], known: Collection[str]) -> None:
    """Raise InvalidSetting for the first key of `given` that isn't among `known`.

    `path`: the setting that has these keys.
    """
    for key in given:
        if key not in known:
            raise InvalidSetting(f"{path}[{key!r}] is unknown; {nearest(str(key), known)}.")


def refuse_alike(path: str, names: Iterable[str]) -> None:
    """Raise InvalidSetting for two names that most of MySQL's collations take for one.

    Such names differ in nothing but case, accents, or spaces at the end.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(_folded(name), name)) != name:
            raise InvalidSetting(
                f"{path}: {other!r} and {name!r} differ in nothing but case, accents or spaces at "
                "the end, and MySQL and MariaDB take them for one name; rename one of the two."
            )


def _folded(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    kept = (c for c in decomposed if unicodedata.category(c) not in IGNORED)
    return "".join(kept).casefold().rstrip()
