"""Orders, and what they leave in the shop's own rows; some of an order's methods are targets."""

from __future__ import annotations

from typing import ClassVar

from django.core.mail import EmailMessage
from django.db import models

from async_attempts import Attempt, Ending, attemptable, current_attempt

from .clients import PATIENTLY, post


class Order(models.Model):
    """What somebody bought."""

    class Status(models.TextChoices):
        PLACED = "placed"
        SHIPPED = "shipped"
        CANCELLED = "cancelled"

    customer_email = models.EmailField()
    basket: models.JSONField[dict[str, int]] = models.JSONField()
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.PLACED)

    objects: ClassVar[models.Manager[Order]] = models.Manager()

    def __str__(self) -> str:
        return f"order {self.pk}"

    @property
    def attempts(self) -> models.QuerySet[Attempt]:
        """All that was enqueued about this order, in that order."""
        return Attempt.objects.about(self).order_by("id")

    @attemptable(queue="fulfilment", backoff=PATIENTLY, timeout=30)
    def ship(self, reservations: list[str]) -> str:
        """Have what was reserved sent; returns the parcel's number."""
        parcel = post("/parcels", {"order": self.pk, "reservations": reservations})
        self.become(self.Status.SHIPPED)
        return parcel

    @attemptable(queue="fulfilment", backoff=PATIENTLY, timeout=30)
    def cancel(self, why: Ending) -> None:
        """Give back what was reserved, and apologise."""
        post("/cancellations", {"order": self.pk})
        self.mail(f"We are sorry about order {self.pk}", f"{why.message}. You pay nothing.")
        self.become(self.Status.CANCELLED)

    @attemptable(atomic=True)
    def close_the_books(self) -> None:
        """Atomic mode: the row and the end of the attempt are one transaction, exactly once."""
        earned = self.amount if self.status == self.Status.SHIPPED else 0
        Entry.objects.create(order=self, amount=earned)

    def become(self, status: Status) -> None:
        self.status = status
        self.save(update_fields=["status"])

    def mail(self, subject: str, text: str) -> None:
        """Leased mode: at least once. The Message-ID lets the receiving side see a second copy."""
        message_id = f"<{current_attempt().idempotency_key}@shop.example.com>"
        headers = {"Message-ID": message_id}
        EmailMessage(subject, text, to=[self.customer_email], headers=headers).send()


class Entry(models.Model):
    """What the books say of an order. No constraint keeps a second one out: atomic mode does."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="entries")
    amount = models.DecimalField(max_digits=10, decimal_places=2)

    objects: ClassVar[models.Manager[Entry]] = models.Manager()

    class Meta:
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.amount} EUR of {self.order}"


class Reward(models.Model):
    """Loyalty points for an order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="rewards")
    points = models.PositiveIntegerField()

    objects: ClassVar[models.Manager[Reward]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.points} points for {self.order}"
