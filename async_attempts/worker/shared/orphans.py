"""A process whose parent is gone has nobody left who looks after it."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1


def die_with_parent(number: int) -> None:
    """Be sent this signal when the parent ends, where the system can do that (prctl(2), Linux)."""
    with suppress(OSError, AttributeError):
        libc: Any = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
