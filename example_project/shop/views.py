"""The start page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from .models import Order


@require_safe
def start(request: HttpRequest) -> HttpResponse:
    """What this is, and the latest orders."""
    return render(request, "shop/start.html", {"orders": Order.objects.order_by("-number")[:20]})
