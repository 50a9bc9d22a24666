"""Targets whose attempts end in their own way: gone rows, answers, retries."""

from __future__ import annotations

from typing import Any

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
