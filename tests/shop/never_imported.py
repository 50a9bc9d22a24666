"""A module that no test imports: once it is imported, it stays in `sys.modules`."""

from __future__ import annotations

from async_attempts import attemptable


@attemptable(max_attempts=1)
def run() -> None:
    """Does nothing."""
