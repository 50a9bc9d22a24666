"""The tally: what executions came to in one minute, so that nobody has to count attempts."""

from __future__ import annotations

from math import inf
from types import MappingProxyType
from typing import Final

from django.db import models

from ..conf import QUEUE_LENGTH
from ..printable import printable
from .bounds import Bounds

TARGET_LENGTH: Final = 255

BUCKETS: Final = MappingProxyType(
    {
        "to_1ms": 0.001,
        "to_3ms": 0.003,
        "to_10ms": 0.01,
        "to_30ms": 0.03,
        "to_100ms": 0.1,
        "to_300ms": 0.3,
        "to_1s": 1.0,
        "to_3s": 3.0,
        "to_10s": 10.0,
        "to_30s": 30.0,
        "to_100s": 100.0,
        "longer": inf,
    }
)
"""The histogram's columns, and the seconds that the executions in each took at most."""

KEY: Final = ("minute", "queue", "target", "outcome")
OUTCOMES: Final = ("succeeded", "retried", "failed", "expired")
NUMBERS: Final = ("count", "wait_seconds", "run_seconds", *BUCKETS)
"""The columns that are added up, in this order."""


class Tally(models.Model):
    """The number of executions of one queue and target with one outcome in one minute.

    Workers add to it every few seconds. `target`: with its method, cut to the column.
    `wait_seconds`: the sum of the times from due to claimed; `run_seconds`: of the executions.
    """

    id = models.BigAutoField(primary_key=True)
    minute = models.DateTimeField()
    queue = models.CharField(max_length=QUEUE_LENGTH)
    target = models.CharField(max_length=TARGET_LENGTH)
    outcome = models.CharField(max_length=9)
    count = models.IntegerField(default=0)
    wait_seconds = models.FloatField(default=0.0)
    run_seconds = models.FloatField(default=0.0)
    to_1ms = models.IntegerField(default=0)
    to_3ms = models.IntegerField(default=0)
    to_10ms = models.IntegerField(default=0)
    to_30ms = models.IntegerField(default=0)
    to_100ms = models.IntegerField(default=0)
    to_300ms = models.IntegerField(default=0)
    to_1s = models.IntegerField(default=0)
    to_3s = models.IntegerField(default=0)
    to_10s = models.IntegerField(default=0)
    to_30s = models.IntegerField(default=0)
    to_100s = models.IntegerField(default=0)
    longer = models.IntegerField(default=0)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=KEY, name="aa_tally_key"),
            Bounds(name="aa_tally_bounds", moments=("minute",)),
        )

    def __str__(self) -> str:
        what = printable(f"{self.queue} {self.target}")
        return f"{self.minute:%H:%M} {what}: {self.count} {printable(self.outcome)}"
