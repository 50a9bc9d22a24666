"""Targets whose attempts end in their own way: gone rows, answers, retries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from async_attempts import Backoff, Refused
from async_attempts.targets import attemptable
from tests.shop import effects
from tests.shop.models import Order


class ShippedOrder(Order):
    """An order whose row may be deleted before its attempts are performed."""

    class Meta:
        app_label = "shop"
        proxy = True

    @attemptable
    def by_setting(self) -> None:
        effects.seen.append(("by setting", (), {}))

    @attemptable(if_gone="expire")
    def expire(self) -> None:
        effects.seen.append(("expire", (), {}))

    @attemptable(if_gone="fail")
    def fail(self) -> None:
        effects.seen.append(("fail", (), {}))

    @attemptable(if_gone="ignore")
    def ignore(self) -> None:
        effects.seen.append(("ignore", (), {}))


@attemptable
def ship(order: Any) -> None:
    effects.seen.append(("ship", (), {}))


@attemptable(if_gone="ignore")
async def ship_ignoring(order: Any) -> None:
    effects.seen.append(("ship ignoring", (), {}))


@attemptable(if_gone="ignore", atomic=True)
def ship_atomically(order: Any) -> None:
    effects.seen.append(("ship atomically", (), {}))


@attemptable(if_gone="fail")
def ship_or_fail(order: Any) -> None:
    effects.seen.append(("ship or fail", (), {}))


class SoldOut(Refused):
    """An answer of the shop's own."""


class OrderError(Exception):
    """A base of a project's errors, which knows nothing of attempts."""


class TooManyRequests(Exception):
    """What a remote API says when it is busy, and for how long."""

    def __init__(self, retry_after: Any) -> None:
        super().__init__("slow down")
        self.retry_after = retry_after


@attemptable(expected=(OrderError,))
def buy(*args: Any) -> Any:
    return effects.action(*args)


@attemptable(expected=(OrderError,), atomic=True)
def buy_atomically(*args: Any) -> Any:
    return effects.action(*args)


@attemptable(expected=(OrderError,))
async def buy_asynchronously(*args: Any) -> Any:
    return effects.action(*args)


BUSY = Backoff(
    first=100,
    cap=100,
    jitter=False,
    give_up_after=timedelta(hours=1),
    queue="emails",
    priority="low",
    after=lambda error: error.retry_after,
)


@attemptable(backoff=BUSY)
def send(*args: Any) -> Any:
    return effects.action(*args)


@attemptable(backoff=BUSY, atomic=True)
def send_atomically(*args: Any) -> Any:
    return effects.action(*args)


@attemptable(backoff=BUSY)
async def send_asynchronously(*args: Any) -> Any:
    return effects.action(*args)
