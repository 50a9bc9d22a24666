"""Rows that callers write beside an attempt, and rows that targets leave behind as effects."""

from __future__ import annotations

from django.db import models


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


class Ledger(models.Model):
    """One line for each effect of an execution: a second line shows a second execution."""

    attempt_id = models.UUIDField()
    claim_seq = models.IntegerField(default=0)
    note = models.TextField(default="")

    def __str__(self) -> str:
        return f"{self.attempt_id} by claim {self.claim_seq}: {self.note}"
