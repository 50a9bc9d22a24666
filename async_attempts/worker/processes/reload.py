"""Reload in development: notices that the project's code was edited."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

from django.utils.autoreload import StatReloader

from ..shared.shared_memory import now

INTERVAL: Final = 1.0


class CodeChanges:
    """Django's autoreloader tells what to watch; it is asked once a second, in no thread."""

    def __init__(self) -> None:
        self._reloader = StatReloader()
        self._times = self._look()
        self._next = now() + INTERVAL

    def changed(self) -> Path | None:
        """A file that was edited since the last time, and that is Python still."""
        if now() < self._next:
            return None
        self._next = now() + INTERVAL
        before, self._times = self._times, self._look()
        for path, time in self._times.items():
            if before.get(path, time) != time and _is_python(path):
                return path
        return None

    def _look(self) -> dict[Path, float]:
        return dict(self._reloader.snapshot_files())


def _is_python(path: Path) -> bool:
    """Return False for Python that doesn't compile: a worker would end at once."""
    if path.suffix != ".py":
        return True
    try:
        ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return False
    return True
