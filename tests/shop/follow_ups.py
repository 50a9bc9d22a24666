"""Targets that are followed by others when their attempts end badly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from async_attempts import Backoff, attemptable
from async_attempts.targets import policy_with
from async_attempts.targets.decorator import MARK
from tests.shop import effects

ended: list[tuple[Any, ...]] = []
"""What the handlers were called with, in this process."""


def unregistered(**options: Any) -> Callable[[Any], Any]:
    """`@attemptable` for targets with options that the system check would report."""

    def decorate(function: Any) -> Any:
        setattr(function, MARK, policy_with(options))  # type: ignore[arg-type]
        return function

    return decorate


@attemptable(queue="emails", priority=7)
def mark_failed(ending: Any, *args: Any, **kwargs: Any) -> None:
    ended.append((ending, args, kwargs))


@attemptable
def mark_expired(ending: Any, *args: Any, **kwargs: Any) -> None:
    ended.append((ending, args, kwargs))


@attemptable(
    backoff=Backoff.fixed(0, max_attempts=2),
    on_failed=mark_failed,
    on_expired="tests.shop.follow_ups.mark_expired",
)
def deliver(*args: Any, **kwargs: Any) -> Any:
    return effects.action(*args, **kwargs)


@attemptable(atomic=True, max_attempts=1, on_failed="mark_failed")
def deliver_atomically(*args: Any, **kwargs: Any) -> Any:
    return effects.action(*args, **kwargs)


@attemptable(max_attempts=1, on_failed=mark_failed)
def fail_to_mark(ending: Any, *args: Any) -> None:
    raise ValueError("not marked")


@attemptable(max_attempts=1, on_failed=fail_to_mark)
def deliver_twice_followed(*args: Any) -> None:
    raise ValueError("not delivered")


@unregistered(on_failed="never_marked")
def deliver_or_mark(*args: Any) -> None:
    """Its handler isn't there."""


@unregistered(on_failed="tests.shop.follow_ups.second_of_a_circle")
def first_of_a_circle(*args: Any) -> None:
    """It follows what follows it."""


@unregistered(on_failed=first_of_a_circle)
def second_of_a_circle(*args: Any) -> None:
    """It follows what follows it."""


@attemptable
def mark_nothing(*, number: int) -> None:
    """It takes no Ending."""


@unregistered(on_failed=mark_nothing)
def deliver_by_keyword(*, number: int) -> None:
    """Its handler takes no Ending."""


@attemptable(debounce=1.0, key="all")
def mark_debounced(ending: Any) -> None:
    """It needs a caller."""


@unregistered(on_failed=mark_debounced)
def deliver_debounced() -> None:
    """Its handler needs a caller."""


@unregistered(on_failed="tests.shop.models.Order.mark_unsent")
def deliver_without_an_order() -> None:
    """Its handler needs an order."""


@attemptable(delay=3600, expires_after=7200)
def mark_later(ending: Any) -> None:
    """It waits for an hour."""


@attemptable(on_failed=mark_later)
def deliver_and_wait() -> None:
    """Its handler waits for an hour."""
