"""An attempt model with a column more, and a hook."""

from __future__ import annotations

from itertools import count
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db import models
from django.db.models.functions import Upper

from async_attempts.models import AbstractAttempt

ORIGIN: Final = UUID("0190163d-8694-739b-aea5-966c26f8ad91")


class NumberedField(models.CharField):  # type: ignore[type-arg]  # it takes none when it is run
    """Text that is stored in another form each time, as by encryption with a nonce."""

    numbers = count()

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return f"{value} {next(self.numbers)}"


class OrderAttempt(AbstractAttempt):
    tenant = models.CharField(max_length=40, default="nobody")
    shares = models.CharField(max_length=40, default="100% \\ 'all'")
    origin = models.UUIDField(default=ORIGIN)
    urgent = models.BooleanField(default=0)
    receipt = NumberedField(max_length=40, default="receipt")
    heading = models.GeneratedField(
        expression=Upper("tenant"), output_field=models.CharField(max_length=40), db_persist=True
    )

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
