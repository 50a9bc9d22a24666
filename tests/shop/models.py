"""Rows that callers write beside an attempt, and rows that targets leave behind as effects."""

from __future__ import annotations

from typing import Any

from django.db import models

from async_attempts import attemptable


class Customer(models.Model):
    name = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    number = models.IntegerField()
    customer = models.ForeignKey(Customer, models.CASCADE, null=True, blank=True)
    status = models.TextField(default="new")

    def __str__(self) -> str:
        return f"order {self.number}"

    @attemptable
    def mark_unsent(self, ending: Any) -> None:
        self.status = f"unsent: {ending.reason}"
        self.save()

    @attemptable(on_failed="mark_unsent")
    def send(self) -> None:
        """It is marked when it can't be sent."""


class Ledger(models.Model):
    """One line for each effect of an execution: a second line shows a second execution."""

    attempt_id = models.UUIDField()
    claim_seq = models.IntegerField(default=0)
    note = models.TextField(default="")

    def __str__(self) -> str:
        return f"{self.attempt_id} by claim {self.claim_seq}: {self.note}"
