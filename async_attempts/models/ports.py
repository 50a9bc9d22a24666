"""Ports: what rows ask of the floors above them, and the values that come back.

The app binds them when it is ready. `Attempt.objects.create()` is the store's to carry out, and the
store stands on the models: so no import goes up.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from ..lifecycle import FINAL, GONE

Timeout = float | timedelta | None


class Changes(NamedTuple):
    """The outcome of a verb on attempts: how many changed, and how many were left and why."""

    changed: int
    left: dict[str, int]


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


class Inserts(Protocol):
    """The part of `async_attempts.store.attempts.Attempts` that rows and querysets call."""

    def insert(self, attempt: Any) -> bool: ...
    def insert_one_alike(self, row: Any, template: Any) -> None: ...
    def insert_many(self, attempts: Sequence[Any], batch_size: int | None = None) -> None: ...


class PeoplesVerbs(Protocol):
    """The part of `async_attempts.store.changes.Changes` that rows and querysets call."""

    def expire(self, attempts: Any, reason: str) -> Changes: ...
    def fail(self, attempts: Any, reason: str) -> Changes: ...
    def retry(self, attempts: Any, at: datetime | None, spread: Timeout = None) -> Changes: ...
    def reschedule(
        self, attempts: Any, at: datetime | timedelta | None, by: timedelta | None
    ) -> Changes: ...
    def request_cancel(
        self, attempts: Any, reason: str = "", *, interrupt: bool = False
    ) -> Changes: ...


class SchedulesPort(Protocol):
    """The part of `async_attempts.store.schedules.Schedules` that rows and querysets call."""

    def save(self, schedule: Any, names: Collection[str] | None = None) -> None: ...
    def prepare(self, new: Sequence[Any]) -> None: ...
    def pause(self, schedule_ids: Iterable[UUID]) -> int: ...
    def resume(self, schedule_ids: Iterable[UUID]) -> int: ...


class StorePort(Protocol):
    """The part of `async_attempts.store.Store` that rows and querysets call."""

    @property
    def attempts(self) -> Inserts: ...
    @property
    def changes(self) -> PeoplesVerbs: ...
    @property
    def schedules(self) -> SchedulesPort: ...


class StoreFor(Protocol):
    def __call__(self, alias: str, /) -> StorePort: ...


class Waiting(Protocol):
    """The part of `async_attempts.results` that rows call."""

    def result(self, attempt: Any, timeout: Timeout, /) -> Any: ...
    def aresult(self, attempt: Any, timeout: Timeout, /) -> Coroutine[Any, Any, Any]: ...
    def watch(self, attempt: Any, timeout: Timeout, /) -> AsyncGenerator[Progress, None]: ...


store_for: StoreFor
perform: Callable[[Any], None]
waiting: Waiting


def bind(*, store_for: StoreFor, perform: Callable[[Any], None], waiting: Waiting) -> None:
    """Bind the ports; called once, when the app is ready."""
    globals().update(store_for=store_for, perform=perform, waiting=waiting)
