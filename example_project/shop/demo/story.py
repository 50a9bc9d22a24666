"""Place orders as a shop does, and say what has to become of each attempt."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Final, NamedTuple

from django.db import transaction
from django.db.models import Max

from async_attempts import Attempt, enqueue
from example_project.shop.clients import OrderClient
from example_project.shop.models import Order

ROLLED_BACK: Final = "rolled back"
SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"


class Fate(NamedTuple):
    """What became of an attempt: its status or `ROLLED_BACK`, its executions, its effects."""

    became: str
    executions: int
    effects: str


class Promise(NamedTuple):
    """An attempt that was enqueued, and the fate that it has to have."""

    order_number: int
    attempt: Attempt
    fate: Fate
    because: str = ""


NEVER: Final = Fate(ROLLED_BACK, 0, "nothing")
SHIPPED: Final = Fate(SUCCEEDED, 1, "1 request, 1 parcel")
MAILED: Final = Fate(SUCCEEDED, 1, "1 mail")


class PaymentDeclined(Exception):
    """The customer's bank said no."""


class NoExpressToday(Exception):
    """The express courier is full."""


def place_orders() -> list[Promise]:
    """Four orders, numbered on from the last one."""
    number = (Order.objects.aggregate(last=Max("number"))["last"] or 1000) + 1
    return [
        *place_plain_order(number),
        *place_declined_order(number + 1),
        *place_order_without_express(number + 2),
        *place_order_abroad(number + 3),
    ]


def place_plain_order(number: int) -> list[Promise]:
    with transaction.atomic():
        order = _order(number, "ada@example.com")
        return [
            _promise(order, _fulfill(order), SHIPPED),
            _promise(order, enqueue(order.send_confirmation_email), MAILED),
            _promise(order, enqueue(order.book_sale), Fate(SUCCEEDED, 1, "1 sale")),
            _promise(
                order,
                enqueue(OrderClient.print_label, number),
                Fate(SUCCEEDED, 2, "2 requests, 1 label"),
                "the first answer got lost; the second request had the same Idempotency-Key",
            ),
        ]


def place_declined_order(number: int) -> list[Promise]:
    promises: list[Promise] = []
    with suppress(PaymentDeclined), transaction.atomic():
        order = _order(number, "bob@example.com")
        because = "the payment was declined, and the order's transaction rolled back"
        promises += [
            _promise(order, _fulfill(order), NEVER, because),
            _promise(order, enqueue(order.send_confirmation_email), NEVER, because),
        ]
        raise PaymentDeclined
    return promises


def place_order_without_express(number: int) -> list[Promise]:
    promises: list[Promise] = []
    with transaction.atomic():
        order = _order(number, "cyd@example.com")
        with suppress(NoExpressToday), transaction.atomic():
            because = "no express today: its savepoint rolled back, the order went on without"
            promises.append(_promise(order, _fulfill(order, express=True), NEVER, because))
            raise NoExpressToday
        promises += [
            _promise(order, _fulfill(order), SHIPPED),
            _promise(order, enqueue(order.send_confirmation_email), MAILED),
        ]
    return promises


def place_order_abroad(number: int) -> list[Promise]:
    with transaction.atomic():
        order = _order(number, "dov@example.com")
        return [
            _promise(order, enqueue(order.send_confirmation_email), MAILED),
            _promise(
                order,
                enqueue(OrderClient.declare_at_customs, number),
                Fate(FAILED, 3, "3 requests"),
            ),
        ]


def _order(number: int, customer_email: str) -> Order:
    amount = Decimal("42.00")
    return Order.objects.create(number=number, customer_email=customer_email, amount=amount)


def _fulfill(order: Order, *, express: bool = False) -> Attempt:
    token = f"token of {order.customer_email}"
    return enqueue(
        OrderClient.fulfill, customer_token=token, order_number=order.number, express=express
    )


def _promise(order: Order, attempt: Attempt, fate: Fate, because: str = "") -> Promise:
    return Promise(order.number, attempt, fate, because)
