"""The attempt that is being performed, as its target sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from ...exceptions import InvalidOption
from ...models import get_attempt_model
from ...models.validation import check_progress
from ...results import Ending, endings_in_order
from ...store import ProgressReport
from ..shared.shared_memory import now
from .prepare import Prepared
from .timeouts import Deadline


def ignore_progress(said: ProgressReport) -> None:
    """Do nothing: progress is not recorded here."""


class CurrentAttempt:
    """The attempt that is being performed."""

    __slots__ = ("_claim", "_deadline", "_prerequisites", "_say")

    def __init__(
        self,
        ready: Prepared,
        deadline: Deadline,
        say: Callable[[ProgressReport], None] = ignore_progress,
    ) -> None:
        self._claim = ready.claim
        self._prerequisites = ready.prerequisites
        self._deadline = deadline
        self._say = say

    @property
    def id(self) -> UUID:
        return self._claim.id

    @property
    def queue(self) -> str:
        return self._claim.queue

    @property
    def num_attempts(self) -> int:
        """The number of this execution: 1 for the first."""
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
        """The end of the timeout: an aware datetime, by this process's clock."""
        return datetime.now(UTC) + timedelta(seconds=self._deadline.at - now())

    def extend(self, timeout: float | timedelta) -> None:
        """Set the timeout to end at a time from now, given in seconds or as a timedelta.

        Raises InvalidOption unless that is more than 0.
        """
        seconds: Any = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise InvalidOption(f"extend: must be seconds or a timedelta, over 0, not {timeout!r}.")
        self._deadline.move(now() + seconds)

    def set_progress(self, percent: float, note: str = "") -> None:
        """Say how far this execution is; costs the target no query, and works in async code, too.

        `percent`: 0 to 100, fractions are cut off; `note`: at most 255 characters, stored in clear.
        Written by the worker at most twice a second, the newest, and the last one in any case. In
        atomic mode, and where the worker has no thread for it (`perform()`, a drain in tests), it
        is written when the target has ended. Raises InvalidOption.
        """
        said = ProgressReport(self._claim, *check_progress(percent, note))
        # A thread may outlive its execution: its progress is of no interest.
        if self._deadline.on_move is not None:
            self._say(said)

    @property
    def metadata(self) -> dict[str, Any]:
        return self._claim.metadata

    @property
    def prerequisites(self) -> list[Ending]:
        """The outcomes of the attempts that this one waited for; a few queries at each reading."""
        return endings_in_order(self._prerequisites, self._claim.database)

    @property
    def cancel_requested(self) -> bool:
        """True if somebody asked this attempt to stop; one query at each reading."""
        rows = get_attempt_model()._base_manager.using(self._claim.database)
        return rows.filter(pk=self.id, cancel_requested=True).exists()

    def __repr__(self) -> str:
        return f"<CurrentAttempt {self._claim}>"


_current: Final[ContextVar[CurrentAttempt | None]] = ContextVar("current_attempt", default=None)


def current_attempt() -> CurrentAttempt:
    """The attempt that is being performed here. Raises LookupError outside of a target."""
    current = _current.get()
    if current is None:
        raise LookupError("current_attempt() works inside a target that is being performed.")
    return current
