"""SQLite: one writer at a time, so a claim is one statement under BEGIN IMMEDIATE."""

from __future__ import annotations

from .base import Store
from .rows import needs_immediate


class SQLiteStore(Store):
    """The embedded default; IMMEDIATE transactions exclude each other, so the ORM's form holds."""

    def isolation_problem(self) -> str | None:
        if self.connection.transaction_mode == "IMMEDIATE":  # type: ignore[attr-defined]
            return None
        return needs_immediate(self.alias)
