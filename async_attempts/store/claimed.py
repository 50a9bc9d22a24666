"""A claimed attempt as a worker knows it, a tuple and no model instance; and a batch of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from ..conf import realm_of
from ..encryption import Context, Purpose
from ..lifecycle import Expired, Outcome
from ..printable import printable

uptime: Final[Callable[[], float]] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if hasattr(time, "CLOCK_BOOTTIME")
    else time.monotonic
)
"""Seconds of a clock that all processes share, and that goes on while the machine sleeps, if the
system has one."""


class Claim(NamedTuple):
    """One claimed attempt. The columns have the names of the model's, but for the id's bytes.

    `seconds_left`: from the claim until its `expires_at`, if it has one. `claimed_at`: when the
    claim's statement was sent, by `uptime`. `waited`: seconds from when it was due to the claim.
    `args`, `metadata_json`: None for what is over its limit, and so wasn't fetched.
    """

    id_bytes: bytes
    queue: str
    target: str
    target_pk: str | None
    method_name: str
    args: bytes | None
    idempotence_token: str | None
    num_attempts: int
    max_attempts: int | None
    num_crashes: int
    claim_seq: int
    timeout: float | None
    keep_result: bool
    limit_key: str
    metadata_json: str | None
    seconds_left: float | None
    started_at: datetime
    worker_id: UUID
    database: str
    claimed_at: float
    waited: float

    @property
    def id(self) -> UUID:
        """The attempt's id, made at each reading."""
        return UUID(bytes=self.id_bytes)

    @property
    def fence(self) -> tuple[bytes, int]:
        """The identity of the claim: a worker may hold two of one attempt, of which one is over."""
        return self.id_bytes, self.claim_seq

    @property
    def metadata(self) -> dict[str, Any]:
        """The row's metadata, parsed at each reading."""
        parsed: dict[str, Any] = json.loads(self.metadata_json or "{}")
        return parsed

    @property
    def idempotency_key(self) -> str:
        """The token, else the id: the same over all executions of this attempt."""
        return self.idempotence_token or str(self.id)

    def is_late(self, moment: float) -> bool:
        """Return True if it is past its `expires_at` at this moment, by `uptime`."""
        left = self.seconds_left
        return left is not None and moment - self.claimed_at >= left

    def context(self, purpose: Purpose) -> Context:
        """Return the context that ciphertexts of this attempt, or of this error, are bound to."""
        return Context(
            purpose,
            self.id_bytes,
            self.target,
            self.target_pk,
            self.method_name,
            self.idempotence_token,
            realm_of(self.database),
            self.num_attempts if purpose == "error" else None,
        )

    def __str__(self) -> str:
        return f"{printable(f'{self.target}.{self.method_name}')} {self.id}"

    def __repr__(self) -> str:
        return f"<Claim {self} claim_seq={self.claim_seq}>"


COLUMNS: Final = ("id", *Claim._fields[1 : Claim._fields.index("metadata_json")], "metadata")
"""The columns behind a claim, in its order; the facts of the claim itself follow."""

ORDER: Final = ("priority", "scheduled_at")
"""The columns that claimed rows are sorted by, together with the id."""


class Claimed(list[Claim]):
    """The attempts that one claim took.

    `may_have_more`: more may be due behind attempts that were taken and couldn't be kept.
    `held_back`: the queues whose limits left nothing, or not enough, each with the seconds after
    which to try again; None for a queue that waits for an attempt to end. `too_late`: attempts that
    were expired instead of taken. `unrecorded`: outcomes of attempts that aren't to be performed,
    whose rows another transaction locks: to be offered to a finish.
    """

    may_have_more = False

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        super().__init__(claims)
        self.held_back: dict[str, float | None] = {}
        self.unrecorded: list[tuple[Claim, Outcome]] = []
        self.too_late: list[Claim] = []


class Selection(NamedTuple):
    """The pending attempts that a claim is to take: a condition in SQL and its parameter.

    `passed_over`: headers of sealed arguments that attempts must not have.
    """

    sql: str
    param: Any
    passed_over: Collection[bytes] = ()


ORDINARY: Final = "num_crashes = 0"
SUSPECT: Final = "num_crashes > 0"
"""SQL: an attempt that no worker has died of, and one that a worker may have died of."""


class Unknown(Enum):
    """The claims that a worker may still own without knowing of them."""

    NOTHING = auto()
    LOCKED = auto()
    """Claims whose rows somebody else locks; no other ones."""

    CLAIM = auto()
    """All that a claim over a lost connection takes, which may still be going on."""


TOO_LATE: Final = Expired("not begun before its expires_at")
