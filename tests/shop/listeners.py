"""Who listens to the shop's events: found at the start by this module's name."""

from __future__ import annotations

from typing import Any

from async_attempts import attemptable, current_attempt, on

heard: list[tuple[str, Any]] = []
"""Which listeners were called in this process, and with what."""


@on("shop.order.completed")
def send_receipt(order_id: int, amount: int) -> None:
    heard.append(("send_receipt", {"order_id": order_id, "amount": amount}))


class Accounts:
    """A class whose methods listen."""

    @staticmethod
    @on("shop.order.completed", priority=5, when=lambda order: order["amount"] > 1000)
    def audit(order_id: int, **rest: Any) -> None:
        heard.append(("audit", {"order_id": order_id, **rest}))

    @on("shop.order.cancelled")
    @classmethod
    def refund(cls, order_id: int) -> None:
        heard.append(("refund", {"order_id": order_id, "by": cls.__name__}))


@on("shop.*")
async def keep_journal(event: str, **payload: Any) -> None:
    heard.append(("keep_journal", (event, payload, current_attempt().metadata)))


def by_position(order_id: int, /) -> None:
    """Can't be called by keyword."""


def bystander(**payload: Any) -> None:
    """Listens to nothing, until a test makes it."""


@attemptable(queue="fulfilment", priority=-5, delay=60, max_attempts=3, timeout=9, keep_result=True)
def opinionated(**payload: Any) -> None:
    """Has options of its own, as a target."""


class Counter:
    """Has a method that no name leads to without an instance."""

    def count(self, **payload: Any) -> None:
        raise AssertionError("nobody can call this")
