"""Keys that tell calls of one target apart: text, or a function that makes it of the arguments."""

from __future__ import annotations

from typing import Any

from ..exceptions import InvalidOption
from ..payload import Arguments
from ..values import has_lone_surrogate, text_key


def made_key(option: str, function: Any, own_name: str, arguments: Arguments) -> Any:
    """Return what the author's function makes of a call's arguments; None: there is no key.

    Raises InvalidOption if it raises.
    """
    try:
        return function(*arguments.args, **arguments.kwargs)
    except Exception as error:
        raise InvalidOption(
            f"{option}: the function of {own_name} raised {type(error).__name__}; it is called "
            "with the attempt's arguments and returns text, a whole number, a UUID or None."
        ) from error


def key_text(option: str, value: Any) -> str:
    """Return the text of a key, of any length. Raises InvalidOption."""
    text = text_key(f"{option}:", value, InvalidOption)
    if not text or has_lone_surrogate(text):
        raise InvalidOption(f"{option}: must have a character at least, and no lone surrogate.")
    return text
