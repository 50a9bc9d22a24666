"""Backoff: the delays between the executions of an attempt, and when to give up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypedDict, Unpack

from .exceptions import InvalidOption
from .pauses import jittered
from .values import DAY, FINITE, is_number, is_whole, seconds

Shape = Literal["exponential", "linear", "fixed"]
ErrorTypes = tuple[type[BaseException], ...]
After = Callable[[Any], float | timedelta | None]


class Options(TypedDict, total=False):
    """The options that every shape of `Backoff` takes beside its first delay."""

    factor: float
    cap: float | timedelta
    jitter: bool
    max_attempts: int | None
    retry_on: ErrorTypes
    give_up_on: ErrorTypes
    give_up_after: float | timedelta | None
    queue: str | None
    priority: int | str | None
    after: After | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The delays after failed executions.

    `first`: the longest first delay, seconds or a timedelta. `shape`: after n executions the
    delay is `first * factor ** (n - 1)` (exponential), `first * n` (linear) or `first` (fixed),
    at most `cap`. With `jitter` the upper half of it is random ("equal jitter", AWS Architecture
    Blog, "Exponential Backoff And Jitter", 2015), so that attempts that failed together aren't
    retried together; the default's first delay is 15 to 30 seconds.
    `max_attempts`: executions in all, None to leave it to the row or the setting.
    `retry_on`: only these exceptions are retried; `give_up_on`: these never are, and win.
    `give_up_after`: seconds or a timedelta after the begin of the first execution, later than which
    none begins. `queue`, `priority`: where the executions after the first are.
    `after`: a function of the error that gives the delay; None, or an exception, is the usual one.

    Raises InvalidOption.
    """

    shape: Shape = "exponential"
    first: float | timedelta = 30.0
    factor: float = 2.0
    cap: float | timedelta = DAY
    jitter: bool = True
    max_attempts: int | None = None
    retry_on: ErrorTypes = (BaseException,)
    give_up_on: ErrorTypes = ()
    give_up_after: float | timedelta | None = None
    queue: str | None = None
    priority: int | str | None = None
    after: After | None = None

    def __post_init__(self) -> None:
        for name in ("first", "cap"):
            object.__setattr__(self, name, _seconds(name, getattr(self, name)))
        for name in ("retry_on", "give_up_on"):
            object.__setattr__(self, name, _error_types(name, getattr(self, name)))
        if self.shape not in ("exponential", "linear", "fixed"):
            raise InvalidOption(
                f"Backoff: shape must be 'exponential', 'linear' or 'fixed', not {self.shape!r}."
            )
        if not is_number(self.factor) or not 1 <= self.factor < float("inf"):
            raise InvalidOption(f"Backoff: factor must be 1 or more, not {self.factor!r}.")
        if self.max_attempts is not None and not is_whole(self.max_attempts):
            raise InvalidOption(
                f"Backoff: max_attempts must be 1 or more, whole, not {self.max_attempts!r}."
            )

        self._check_next()

    def _check_next(self) -> None:
        """Raise InvalidOption unless what says when and where executions follow is well-formed.

        The names are checked against the settings by a system check, and when enqueueing.
        """
        if self.give_up_after is not None:
            limit = seconds("Backoff: give_up_after", self.give_up_after, InvalidOption)
            object.__setattr__(self, "give_up_after", limit)
        if self.queue is not None and not isinstance(self.queue, str):
            raise InvalidOption(f"Backoff: queue must be a name, not {self.queue!r}.")
        if not isinstance(self.priority, str | None) and not is_whole(self.priority, -100, 100):
            raise InvalidOption(
                "Backoff: priority must be a whole number from -100 to 100, or a name, not "
                f"{self.priority!r}."
            )
        if self.after is not None and not callable(self.after):
            raise InvalidOption(
                f"Backoff: after must be a function of the error, not {self.after!r}."
            )

    @classmethod
    def exponential(cls, first: float | timedelta = 30.0, **options: Unpack[Options]) -> Backoff:
        """Return delays that double (or grow by `factor`), from `first` seconds on."""
        return cls(shape="exponential", first=first, **options)

    @classmethod
    def linear(cls, first: float | timedelta = 30.0, **options: Unpack[Options]) -> Backoff:
        """Return delays of `first` seconds more each time."""
        return cls(shape="linear", first=first, **options)

    @classmethod
    def fixed(cls, delay: float | timedelta = 30.0, **options: Unpack[Options]) -> Backoff:
        """Return the same `delay` in seconds each time, by default without jitter."""
        options = {"jitter": False, **options}
        return cls(shape="fixed", first=delay, **options)

    def delay(self, num_attempts: int) -> float:
        """Return the seconds to wait after execution number `num_attempts` (1, 2, ...) failed."""
        first, cap = _seconds("first", self.first), _seconds("cap", self.cap)
        if self.shape == "fixed":
            delay = first
        elif self.shape == "linear":
            delay = first * num_attempts
        else:
            try:
                delay = first * float(self.factor) ** (num_attempts - 1)
            except OverflowError:
                delay = cap if first else 0.0
        delay = min(delay, cap)
        return jittered(delay) if self.jitter else delay

    def gives_up_on(self, error: BaseException) -> bool:
        """Return True if `error` isn't to be retried."""
        return isinstance(error, self.give_up_on) or not isinstance(error, self.retry_on)


def _seconds(name: str, value: Any) -> float:
    expected = "zero or more seconds"
    return seconds(
        f"Backoff: {name}", value, InvalidOption, expected, may_be_zero=True, most=FINITE
    )


def _error_types(name: str, value: Any) -> ErrorTypes:
    types = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(t, type) and issubclass(t, BaseException) for t in types):
        raise InvalidOption(f"Backoff: {name} takes exception classes, not {value!r}.")
    return types
