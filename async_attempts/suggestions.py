"""Names that are unknown, or too much alike: what was meant, and what is refused."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection, Iterable
from typing import Final

IGNORED: Final = ("Mn", "Cf", "Cc")
"""The Unicode categories that most collations ignore: accents, and characters without a glyph."""


def most_like(word: str, known: Iterable[str]) -> str | None:
    """Return the one of the `known` names that `word` may stand for; None if there is none."""
    names = {name.casefold(): name for name in sorted(known, reverse=True)}
    found = difflib.get_close_matches(word.casefold(), names, n=1)
    return names[found[0]] if found else None


def suggestion(word: str, known: Collection[str]) -> str:
    """Return the end of a sentence about the unknown `word`."""
    if (near := most_like(word, known)) is not None:
        return f"did you mean {near!r}"
    return "known are " + ", ".join(map(repr, sorted(known)))


def refuse_unknown(
    path: str, given: Iterable[object], known: Collection[str], error: type[Exception]
) -> None:
    """Raise `error` for the first key of `given` that isn't among `known`.

    `path`: the setting that has these keys.
    """
    for key in given:
        if key not in known:
            raise error(f"{path}[{key!r}] is unknown; {suggestion(str(key), known)}.")


def refuse_alike(path: str, names: Iterable[str], error: type[Exception]) -> None:
    """Raise `error` for two names that most of MySQL's collations take for one.

    Such names differ in nothing but case, accents, or spaces at the end.
    """
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(_folded(name), name)) != name:
            raise error(
                f"{path}: {other!r} and {name!r} differ in nothing but case, accents or spaces at "
                "the end, and MySQL and MariaDB take them for one name; rename one of the two."
            )


def _folded(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    kept = (c for c in decomposed if unicodedata.category(c) not in IGNORED)
    return "".join(kept).casefold().rstrip()
