"""The attempt that is being performed, as its target sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, overload
from uuid import UUID

from ...exceptions import InvalidOption
from ...models import get_attempt_model
from ...models.validation import check_progress
from ...results import Ending, endings_in_order
from ...store import ProgressReport
from ..shared.shared_memory import now
from .prepare import Prepared
from .retrying import executions_allowed
from .timeouts import Deadline

Default = TypeVar("Default")

logger = logging.getLogger("async_attempts.target")


def ignore_progress(said: ProgressReport) -> None:
    """Do nothing: progress is not recorded here."""


class AttemptLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines begin with the target and the attempt's id.

    Their records have the attributes `attempt_id`, `target`, `queue` and `num_attempts`, too.
    """

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        own: Any = self.extra
        extra = {**(kwargs.get("extra") or {}), **own}
        return f"{own['target']} {own['attempt_id']}: {msg}", {**kwargs, "extra": extra}


class CurrentAttempt:
    """The attempt that is being performed."""

    __slots__ = ("_claim", "_deadline", "_policy", "_prerequisites", "_say")

    def __init__(
        self,
        ready: Prepared,
        deadline: Deadline,
        say: Callable[[ProgressReport], None] = ignore_progress,
    ) -> None:
        self._claim = ready.claim
        self._policy = ready.resolved.policy
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
    def max_attempts(self) -> int:
        """The executions allowed: the row's, else the target's, the queue's or the setting's."""
        return executions_allowed(self._claim.max_attempts, self._policy, self.queue)

    @property
    def is_last(self) -> bool:
        """True if no execution follows when this one fails, since it is the last one allowed."""
        return self.num_attempts >= self.max_attempts

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
    def log(self) -> AttemptLog:
        """A logger that names this attempt; its name is "async_attempts.target"."""
        claim = self._claim
        own = {
            "attempt_id": str(claim.id),
            "target": f"{claim.target}.{claim.method_name}",
            "queue": claim.queue,
            "num_attempts": claim.num_attempts,
        }
        return AttemptLog(logger, own)

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


_NOT_GIVEN: Final[Any] = object()


@overload
def current_attempt() -> CurrentAttempt: ...
@overload
def current_attempt(default: Default, /) -> CurrentAttempt | Default: ...
def current_attempt(default: Any = _NOT_GIVEN, /) -> Any:
    """Return the attempt that is being performed here.

    Outside of a target, and in one that is called directly, returns `default` if it is given;
    raises LookupError if not.
    """
    current = _current.get()
    if current is None:
        if default is not _NOT_GIVEN:
            return default
        raise LookupError(
            "current_attempt() works inside a target that is being performed; "
            "current_attempt(None) returns None elsewhere."
        )
    return current
