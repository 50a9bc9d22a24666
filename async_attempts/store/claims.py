"""What a worker knows of an attempt that it has claimed: a tuple, no model instance."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from ..encryption import Context
from ..lifecycle import Expired


class Claim(NamedTuple):
    """One claimed attempt. The columns have the names and types of the model's."""

    id: UUID
    queue: str
    target: str
    target_pk: str | None
    method_name: str
    args: bytes
    idempotence_token: str | None
    num_attempts: int
    max_attempts: int | None
    num_crashes: int
    claim_seq: int
    timeout: float | None
    keep_result: bool
    metadata_json: str | dict[str, Any]
    started_at: datetime
    late: bool
    database: str

    @property
    def metadata(self) -> dict[str, Any]:
        """The row's metadata, parsed at each reading."""
        given = self.metadata_json
        parsed: dict[str, Any] = given if isinstance(given, dict) else json.loads(given)
        return parsed

    @property
    def idempotency_key(self) -> str:
        """The token, else the id: the same over all executions of this attempt."""
        return self.idempotence_token or str(self.id)

    def context(self, purpose: Any) -> Context:
        """What a ciphertext of this attempt is bound to."""
        return Context(purpose, self.id, self.target, self.target_pk, self.method_name)

    def __str__(self) -> str:
        return f"{self.target}.{self.method_name} {self.id}"

    def __repr__(self) -> str:
        return f"<Claim {self} claim_seq={self.claim_seq}>"


COLUMNS: Final = (
    "id queue target target_pk method_name args idempotence_token num_attempts max_attempts "
    "num_crashes claim_seq timeout keep_result metadata started_at"
).split()
"""The columns behind a claim, in its order; `late` and `database` follow."""

TOO_LATE: Final = Expired("not begun before its expires_at")
