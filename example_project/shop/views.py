"""The start page, where orders are placed, and a page for each order."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from async_attempts import Attempt
from async_attempts.lifecycle import LIVE

from .checkout import PRICES, complete_order
from .models import Order


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """What this is, a form, and the latest orders."""
    orders = Order.objects.order_by("-pk")[:20]
    return render(request, "shop/start.html", {"orders": orders, "prices": PRICES})


@require_POST
def complete(request: HttpRequest) -> HttpResponse:
    """One of each product that was chosen, for a customer without a name."""
    chosen = [product for product in PRICES if product in request.POST.getlist("product")]
    if not chosen:
        return redirect("start")
    order, _ = complete_order("you@example.com", dict.fromkeys(chosen, 1))
    return redirect("order", order.pk)


@require_safe
def show_order(request: HttpRequest, pk: int) -> HttpResponse:
    """The order's attempts and their states, looked at again until all have ended."""
    order = get_object_or_404(Order, pk=pk)
    attempts = list(order.attempts)
    parts: dict[str, list[tuple[Attempt, str]]] = {"Listeners": [], "Fulfilment": []}
    for attempt in attempts:
        part = "Listeners" if "event" in attempt.metadata else "Fulfilment"
        parts[part].append((attempt, note_on(attempt)))
    context = {"order": order, "parts": parts, "seconds": seconds_until_news(attempts)}
    return render(request, "shop/order.html", context)


def note_on(attempt: Attempt) -> str:
    """Why an attempt is in its state, where that isn't plain."""
    if attempt.status == "waiting":
        return f"for {attempt.blockers} of the others"
    if attempt.status == "scheduled":
        return f"again at {attempt.scheduled_at:%H:%M:%S} UTC"
    if attempt.status == "failed" and (failure := attempt.failures.order_by("number").last()):
        return failure.message
    # An attempt's id may follow.
    return attempt.reason.partition(":")[0]


def seconds_until_news(attempts: Sequence[Attempt]) -> int | None:
    """When to look again, from one second to a minute; None if all have ended."""
    live = [attempt for attempt in attempts if attempt.status in LIVE]
    if not live:
        return None
    # Who waits does so for one of the others.
    others = [attempt for attempt in live if attempt.status != "waiting"] or live
    due_in = min(attempt.scheduled_at for attempt in others) - timezone.now()
    return min(max(ceil(due_in.total_seconds()), 1), 60)
