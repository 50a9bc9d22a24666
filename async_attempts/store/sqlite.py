"""SQLite: one writer at a time, so a claim is one statement under BEGIN IMMEDIATE."""

from __future__ import annotations

from uuid import UUID

from .base import Store
from .claiming import in_queue
from .claims import Claim
from .rows import needs_immediate
from .transactions import refuse_callers_block


class SQLiteStore(Store):
    """The embedded default; IMMEDIATE transactions exclude each other, so the ORM's form holds.

    A worker looks before it begins one: else an idle one would keep every enqueue waiting.
    """

    def promote(self, limit: int = 1000) -> int:
        refuse_callers_block(self.alias)
        return super().promote(limit) if self.next_due() == 0 else 0

    def _claim(self, worker_id: UUID, queue: str, limit: int, suspects: bool) -> list[Claim]:
        refuse_callers_block(self.alias)
        if not self.due(in_queue(queue, suspects)).exists():
            return []
        return super()._claim(worker_id, queue, limit, suspects)

    def isolation_problem(self) -> str | None:
        if self.connection.transaction_mode == "IMMEDIATE":  # type: ignore[attr-defined]
            return None
        return needs_immediate(self.alias)
