"""What a target can know of the attempt that it is called for."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ..conf import settings
from ..models import get_attempt_model
from ..store import Claim


class CurrentAttempt:
    """The attempt that is being performed."""

    def __init__(self, claim: Claim, timeout: float | None = None) -> None:
        self._claim = claim
        self._timeout = timeout

    @property
    def id(self) -> UUID:
        return self._claim.id

    @property
    def queue(self) -> str:
        return self._claim.queue

    @property
    def num_attempts(self) -> int:
        """Which execution this is: 1 for the first."""
        return self._claim.num_attempts

    @property
    def claim_seq(self) -> int:
        """A fencing token: higher at each claim of this attempt, never lower."""
        return self._claim.claim_seq

    @property
    def idempotency_key(self) -> str:
        """The idempotence token, else the id: the same over all executions; for remote APIs."""
        return self._claim.idempotency_key

    @property
    def deadline(self) -> datetime:
        """When the timeout is over: an aware datetime, counted from the claim."""
        seconds = self._claim.timeout or self._timeout or settings().DEFAULT_TIMEOUT
        return self._claim.started_at + timedelta(seconds=seconds)

    @property
    def metadata(self) -> dict[str, Any]:
        return self._claim.metadata

    @property
    def cancel_requested(self) -> bool:
        """Whether somebody asked this attempt to stop: one query at each reading."""
        rows = get_attempt_model()._base_manager.using(self._claim.database)
        return rows.filter(pk=self._claim.id, cancel_requested=True).exists()

    def __repr__(self) -> str:
        return f"<CurrentAttempt {self._claim}>"


_current: Final[ContextVar[CurrentAttempt | None]] = ContextVar("current_attempt", default=None)


def current_attempt() -> CurrentAttempt:
    """The attempt that is being performed here. Raises LookupError outside of a target."""
    current = _current.get()
    if current is None:
        raise LookupError("current_attempt() works inside a target that is being performed.")
    return current
