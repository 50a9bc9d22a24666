"""Queues and limits in the database: which queues are paused, which attempt holds which slot."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..conf import QUEUE_LENGTH, limits
from ..limits import UNLIMITED
from ..printable import printable
from .bounds import MOST_CLAIMS, MOST_TOKENS, Bounds, HexIds
from .fields import DigestField

QUEUE_ITSELF: Final = bytes(16)
"""The value in place of a key's digest for the slots of a queue."""


class Queue(models.Model):
    """The state of a queue whose name the settings declare; there is a row once it has any."""

    name = models.CharField(_("name"), max_length=QUEUE_LENGTH, primary_key=True)
    is_paused = models.BooleanField(
        _("paused"), null=True, help_text=_("Empty: as the settings say.")
    )
    tokens = models.FloatField(_("executions that its rate leaves"), null=True)
    tokens_at = models.DateTimeField(_("counted"), null=True)

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        permissions = (("pause_queue", _("Can pause and resume queues")),)
        constraints = (
            Bounds(
                name="aa_queue_bounds",
                moments=("tokens_at",),
                numbers={"tokens": (-MOST_TOKENS, MOST_TOKENS)},
            ),
        )

    def __str__(self) -> str:
        return printable(self.name)

    @property
    def paused(self) -> bool:
        """Return True if no worker may claim from it: as people said, else as the settings say."""
        by_settings = limits().get(self.name, UNLIMITED).paused
        return by_settings if self.is_paused is None else self.is_paused


class Slot(models.Model):
    """A concurrency slot: it is taken while the claim that it names runs.

    So a worker has nothing to give back, and one that dies keeps no slot.
    """

    id = models.BigAutoField(primary_key=True)
    queue = models.CharField(max_length=QUEUE_LENGTH, default="")
    """Empty for the slots of a limit key, which hold for all queues."""
    key = DigestField(max_length=16, default=QUEUE_ITSELF)
    number = models.PositiveSmallIntegerField()
    attempt_id = models.UUIDField(null=True)
    claim_seq = models.BigIntegerField(default=0)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("queue", "key", "number"), name="aa_slot_number"),
            Bounds(name="aa_slot_bounds", numbers={"claim_seq": (0, MOST_CLAIMS + 1)}),
            HexIds(name="aa_slot_ids", ids=("attempt_id",)),
        )

    def __str__(self) -> str:
        return f"{printable(self.queue) or self.key.hex()} {self.number}"


def key_of_limit(limit_key: str) -> bytes:
    """Return the digest that stands for a limit key; "a" and "A" differ in every collation."""
    return blake2b(limit_key.encode(), digest_size=16, person=b"attempts limit").digest()
