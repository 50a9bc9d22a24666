"""What rows ask of the floors above them.

`Attempt.objects.create()` is the store's to carry out, and the store stands on the models. So the
floors above hand in what they can do when the app starts (`apps.AsyncAttemptsConfig.ready`), and
no import goes up.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from .progress import Progress
    from .querysets import AttemptQuerySet


class Changes(NamedTuple):
    """What a verb did to a set of attempts: how many it changed, and what it left and why."""

    changed: int
    left: dict[str, int]


class StoreVerbs(Protocol):
    """The part of `async_attempts.store.Store` that rows and querysets call."""

    def insert(self, attempt: Any) -> bool: ...
    def insert_many(self, attempts: Sequence[Any], batch_size: int | None = None) -> None: ...
    def expire(self, attempts: AttemptQuerySet[Any], reason: str) -> Changes: ...
    def fail(self, attempts: AttemptQuerySet[Any], reason: str) -> Changes: ...
    def retry(
        self,
        attempts: AttemptQuerySet[Any],
        at: datetime | None,
        spread: timedelta | float | None = None,
    ) -> Changes: ...
    def request_cancel(self, attempts: AttemptQuerySet[Any]) -> Changes: ...


class StoreFor(Protocol):
    def __call__(self, alias: str, /) -> StoreVerbs: ...


class Perform(Protocol):
    def __call__(self, attempt: Any, /) -> None: ...


class Waiting(Protocol):
    """The part of `async_attempts.results` that rows call."""

    def result(self, attempt: Any, timeout: float | timedelta | None, /) -> Any: ...
    def aresult(
        self, attempt: Any, timeout: float | timedelta | None, /
    ) -> Coroutine[Any, Any, Any]: ...
    def watch(
        self, attempt: Any, timeout: float | timedelta | None, /
    ) -> AsyncGenerator[Progress, None]: ...


store_for: StoreFor
perform: Perform
waiting: Waiting


def bind(*, store_for: StoreFor, perform: Perform, waiting: Waiting) -> None:
    """Hand in what the floors above can do; called once, when the app is ready."""
    globals().update(store_for=store_for, perform=perform, waiting=waiting)
