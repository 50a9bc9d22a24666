"""The worker: one incarnation of a process that performs attempts, and its lease."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..ids import uuid7
from ..payload.limits import MAX_LIST_BYTES
from ..printable import printable
from .bounds import Bounds, HexIds
from .fields import MeasuredJSONField


class Worker(models.Model):
    """A worker's claim to be alive, by the database's clock."""

    class State(models.TextChoices):
        LIVE = "live", _("live")
        STOPPED = "stopped", _("stopped")
        DEAD = "dead", _("dead, its attempts are being taken back")
        RESCUED = "rescued", _("dead, its attempts were taken back")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    host = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField(_("process"))
    name = models.CharField(_("name"), max_length=255, blank=True, default="")
    queues = MeasuredJSONField(_("queues"), default=list, most=MAX_LIST_BYTES)
    opens = MeasuredJSONField(default=list, most=MAX_LIST_BYTES)
    """The first bytes, in hexadecimal, of the sealed arguments that it has the key of."""

    version = models.CharField(_("version"), max_length=64, blank=True, default="")
    state = models.CharField(_("state"), max_length=7, choices=State.choices, default=State.LIVE)
    lease = models.DateTimeField(_("holds its lease until"))
    started_at = models.DateTimeField(_("started"), auto_now_add=True)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        constraints = (
            Bounds(name="aa_worker_bounds", moments=("lease", "started_at")),
            HexIds(name="aa_worker_ids", ids=("id",)),
        )

    def __str__(self) -> str:
        return f"{printable(self.name or self.host)}:{self.pid}"

    def is_live(self, now: datetime) -> bool:
        """Return True if it holds its lease at `now`, a moment of the database's clock."""
        return self.state == self.State.LIVE and self.lease >= now
