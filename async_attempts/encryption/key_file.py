"""The files of keys that settings name: one key a line, and comments."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Final

from django.views.decorators.debug import sensitive_variables

from ..conf import SETTING
from ..exceptions import InvalidSetting
from .keys import REMEDY, Line

COMMENT: Final = "#"


@sensitive_variables()
def lines_of(path: str, setting: str = "KEYS_FILE") -> list[Line]:
    """Return the keys in the file at `path`, which `setting` names, in their order; not empty.

    Raises InvalidSetting, which names the file and never shows what it holds.
    """
    place = f"{SETTING}[{setting!r}]"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidSetting(f"{place}: {path!r} can't be read: {reason}.") from error
    # An error of decoding would carry the content along.
    text = content.decode("utf-8-sig", "replace")
    lines = [
        Line(f"{place}, line {number} of {path!r},", key)
        for number, line in enumerate(text.split("\n"), 1)
        if (key := line.strip()) and not key.startswith(COMMENT)
    ]
    if not lines:
        raise InvalidSetting(f"{place}: {path!r} holds no key. {REMEDY}")
    return lines


def is_readable_by_all(path: str) -> bool:
    """True if every user of the machine may read the file at `path`; False if there is none."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IROTH)
