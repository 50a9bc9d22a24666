"""Completing an order: it, its event and its fulfilment are written in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from django.db import transaction

from async_attempts import Attempt, Call, Flow, call, event, parallel

from .clients import WarehouseClient
from .models import Order

PRICES: Final = {"tea": Decimal("4.50"), "mug": Decimal("12.00"), "moon lamp": Decimal("99.00")}


def complete_order(customer_email: str, basket: Mapping[str, int]) -> tuple[Order, list[Attempt]]:
    """The order, and the attempts of all that follows from it. `basket`: quantities by product."""
    with transaction.atomic():
        order = Order.objects.create(
            customer_email=customer_email,
            basket=dict(basket),
            amount=sum(PRICES[product] * quantity for product, quantity in basket.items()),
        )
        completed = event("order.completed", order_id=order.pk, amount=float(order.amount))
        listeners = completed.using(subject=order).emit()
        steps = fulfilment(order).enqueue_all()
        return order, [*listeners, *steps.values()]


def fulfilment(order: Order) -> Flow:
    """Reserve everything side by side, then ship, or else cancel; close the books either way."""

    def about_it(step: Callable[..., Any]) -> Call:
        return call(step).using(subject=order)

    reservations = [
        call(WarehouseClient.reserve, order=order.pk, product=product, quantity=quantity).using(
            subject=order, metadata={"product": product}
        )
        for product, quantity in order.basket.items()
    ]
    return (
        parallel(*reservations)
        .then(about_it(order.ship))
        .catch(about_it(order.cancel))
        .finally_(about_it(order.close_the_books))
    )
