"""The business row that a caller writes in the transaction that enqueues."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Order(models.Model):
    number = models.IntegerField()
    customer = models.CharField(max_length=100)

    objects: ClassVar[models.Manager[Order]] = models.Manager()

    def __str__(self) -> str:
        return f"order {self.number}"
