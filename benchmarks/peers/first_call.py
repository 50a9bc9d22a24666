"""When the first of a drain was performed: what came before is the start of a process."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .base import FIRST_CALLS

_noted = False


def note_first_call() -> None:
    """Once in each process; for all later calls it is one comparison."""
    global _noted  # noqa: PLW0603 - the cheapest there is, as it counts for the peer's time
    if not _noted:
        _noted = True
        if directory := os.environ.get(FIRST_CALLS):
            Path(directory, str(os.getpid())).write_text(repr(time.time()))
