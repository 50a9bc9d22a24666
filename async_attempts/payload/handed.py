"""What stands among stored arguments for what isn't known yet: prerequisites' results or errors."""

from __future__ import annotations

from enum import Enum


class Handed(Enum):
    """What an attempt is handed, as its first positional argument, when it is performed."""

    RESULT = "result"
    RESULTS = "results"
    ERROR = "error"
    ENDINGS = "endings"
