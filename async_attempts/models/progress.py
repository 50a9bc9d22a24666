"""The progress of an attempt, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from ..lifecycle import FINAL, GONE


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of an attempt.

    `percent`, `note`: as its target said last; None and empty while it has said nothing. `state`:
    a status, or "running"; "gone" when it was deleted.
    """

    percent: int | None
    note: str
    state: str

    @property
    def is_over(self) -> bool:
        """True once it has ended."""
        return self.state in FINAL or self.state == GONE
