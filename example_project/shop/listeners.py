"""Who wants to know of a completed order. Each gets an attempt of its own, which lives alone."""

from __future__ import annotations

from typing import Any

from async_attempts import Backoff, attemptable, on

from .clients import post
from .models import Order, Reward


@on("order.completed", queue="emails")
def confirm(order_id: int, **rest: Any) -> None:
    """Mail the customer that the order has come in."""
    order = Order.objects.get(pk=order_id)
    order.mail(f"Order {order.pk} is confirmed", f"Thank you! It comes to {order.amount} EUR.")


@on("order.completed")
@attemptable(atomic=True)
def reward(order_id: int, amount: float, **rest: Any) -> None:
    """A loyalty point for each euro: in atomic mode, so exactly once."""
    Reward.objects.create(order_id=order_id, points=int(amount))


@on("order.completed", queue="webhooks")
@attemptable(backoff=Backoff.fixed(0.3, max_attempts=3), timeout=10)
def tell_analytics(event: str, order_id: int, amount: float, **rest: Any) -> None:
    """A webhook, to somebody who is often away."""
    post("/analytics", {"event": event, "order": order_id, "amount": amount})
