"""Orders that are thrown away, and what should no longer be done for them then."""

from __future__ import annotations

from django.db import models

from async_attempts.targets import attemptable
from tests.shop.models import Order


class Reminding(models.Model):
    class Meta:
        abstract = True

    @attemptable(on_subject_deleted="expire")
    def remind(self) -> str:
        return f"remember {self.pk}"


class BinnedOrder(Reminding, Order):
    """An order whose reminders end with it."""

    class Meta:
        app_label = "shop"
        proxy = True

    def __str__(self) -> str:
        return f"order {self.number}"

    @attemptable
    def archive(self) -> str:
        return f"archived {self.pk}"


class ExpressOrder(BinnedOrder):
    """Inherits its targets."""

    class Meta:
        app_label = "shop"
        proxy = True

    def __str__(self) -> str:
        return f"express order {self.number}"


def index(pk: int) -> str:
    """A function, for tests to decorate: then all models are listened to."""
    return f"indexed {pk}"
