"""Orders and sales; some of an order's methods are targets."""

from __future__ import annotations

from typing import ClassVar

from django.core.mail import EmailMessage
from django.db import models

from async_attempts import attemptable, current_attempt


class Order(models.Model):
    """What somebody bought."""

    class Status(models.TextChoices):
        PLACED = "placed"
        BOOKED = "booked"

    number = models.PositiveIntegerField(unique=True)
    customer_email = models.EmailField()
    amount = models.DecimalField(max_digits=10, decimal_places=2)
    status = models.CharField(max_length=6, choices=Status.choices, default=Status.PLACED)

    objects: ClassVar[models.Manager[Order]] = models.Manager()

    def __str__(self) -> str:
        return f"order {self.number}"

    @attemptable(queue="emails", max_attempts=5)
    def send_confirmation_email(self) -> None:
        """Leased mode: at least once. The Message-ID lets the receiving side see a second copy."""
        EmailMessage(
            subject=f"Order {self.number} is confirmed",
            body=f"Thank you! We charge {self.amount} EUR.",
            to=[self.customer_email],
            headers={"Message-ID": f"<{current_attempt().idempotency_key}@shop.example.com>"},
        ).send()

    @attemptable(atomic=True)
    def book_sale(self) -> None:
        """Atomic mode: the row and the end of the attempt are one transaction, exactly once."""
        Sale.objects.create(order=self, amount=self.amount)
        self.status = self.Status.BOOKED
        self.save(update_fields=["status"])


class Sale(models.Model):
    """An order in the books. No constraint keeps a second row out: atomic mode does."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="sales")
    amount = models.DecimalField(max_digits=10, decimal_places=2)

    objects: ClassVar[models.Manager[Sale]] = models.Manager()

    def __str__(self) -> str:
        return f"{self.amount} EUR for {self.order}"
