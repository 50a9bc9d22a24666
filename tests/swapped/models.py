"""An attempt model with a column more, and a hook."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from async_attempts.models import AbstractAttempt


class OrderAttempt(AbstractAttempt):
    tenant = models.CharField(max_length=40, default="nobody")

    def handle_perform_error(self, error: BaseException) -> None:
        Complaint.objects.create(
            tenant=self.tenant, error=type(error).__name__, attempt=self, state=self.state
        )


class Complaint(models.Model):
    """What the hook was told."""

    objects: ClassVar[models.Manager[Complaint]] = models.Manager()

    tenant = models.CharField(max_length=40)
    error = models.CharField(max_length=40)
    state = models.CharField(max_length=10)
    attempt = models.ForeignKey(OrderAttempt, models.CASCADE)

    def __str__(self) -> str:
        return f"{self.tenant}: {self.error}"
