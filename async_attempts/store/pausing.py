"""Queues that people pause."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction

from ..conf import limits
from ..limits import UNLIMITED
from ..models import Queue
from .rows import Rows


class Pausing(Rows):
    """What people say of queues; within their transaction, if one is open."""

    def declare_queues(self, names: Iterable[str]) -> None:
        """Let each of these queues have a row, so that people find it."""
        wanted = sorted(names)
        there = set(self.queues.filter(pk__in=wanted).values_list("pk", flat=True))
        if missing := [Queue(name=name) for name in wanted if name not in there]:
            self.queues.bulk_create(missing, ignore_conflicts=True)

    def set_paused(self, name: str, *, paused: bool) -> None:
        """Let no worker claim of this queue, or let them again."""
        by_settings = limits().get(name, UNLIMITED).paused
        said = paused if paused or by_settings else None
        with transaction.atomic(self.alias):
            self.declare_queues([name])
            self.queues.filter(pk=name).update(is_paused=said)
            self.pass_gate()
