"""What comes again and again."""

from __future__ import annotations

from typing import Final

from django.core.mail import EmailMessage
from django.db.models import Count, Sum

from async_attempts import attemptable, current_attempt, recurring

from .models import Entry

REPORT: Final = "nightly report"


@recurring("0 2 * * *", name=REPORT, timezone="Europe/Berlin", overlap="skip")
@attemptable(queue="emails", max_attempts=5)
def send_report() -> None:
    """Mail the owner what the books say."""
    books = Entry.objects.aggregate(orders=Count("pk"), earned=Sum("amount", default=0))
    headers = {"Message-ID": f"<{current_attempt().idempotency_key}@shop.example.com>"}
    subject = f"{books['orders']} orders, {books['earned']:.2f} EUR"
    EmailMessage(subject, "Good morning!", to=["owner@example.com"], headers=headers).send()
