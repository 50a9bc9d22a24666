"""Text from rows, made safe for logs, terminals and error messages.

A person who can write rows chooses these names. If they were printed as they are, a line feed would
begin a forged line of the log, an escape sequence would move the cursor of the operator's
terminal, and a bidirectional control would show the letters in another order.
"""

from __future__ import annotations

from typing import Final

NAME_LENGTH: Final = 255
MESSAGE_LENGTH: Final = 1_000
"""Characters of an error's text, which holds names and says what to do about them."""


def printable(text: object, length: int = NAME_LENGTH) -> str:
    r"""Return `str(text)` on one line of at most `length` characters.

    Characters that `str.isprintable` refuses (controls, line ends, bidirectional controls, lone
    surrogates) are escaped as `repr` escapes them: `\n`, `\x1b`, `\u202e`. Text that is too long
    ends in "…". Text that was made printable before stays as it is.
    """
    text = str(text)
    if len(text) <= length and text.isprintable():
        return text
    # Escaping makes nothing shorter: more than this is cut anyway.
    escaped = "".join(map(_escaped, text[: length + 1]))
    return escaped if len(escaped) <= length else f"{escaped[: length - 1]}…"


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
