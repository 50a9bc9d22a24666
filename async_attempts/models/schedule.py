"""A schedule: which target is enqueued again and again, and when next."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..conf import QUEUE_LENGTH, SCHEDULE_LENGTH, realm_of
from ..cron import Cron
from ..encryption import Context, encrypt, open_sealed
from ..ids import uuid7
from ..payload import Arguments, dump_arguments, load_arguments
from ..payload.limits import most_args_bytes
from ..plaintext import Plaintext
from ..printable import printable
from ..targets.declared_schedule import DeclaredSchedule
from .bounds import MOST_COUNTED, Bounds, HexIds
from .fields import MeasuredBinaryField
from .large_values import require_fetched
from .saving import database_of

DEFINITION = "cron timezone target catch_up overlap queue priority".split()
BOUND: Final = ("target", "name", "cron", "timezone", "overlap", "catch_up")
"""The columns that the sealed arguments are bound to; a change of one in the table stops the
schedule."""


class Schedule(models.Model):
    """One row for each schedule; a tick is a moment at which one is due.

    `next_tick` is None while it is paused, and when code declares it no longer: then nothing of
    it is due. The row is locked while a tick is enqueued, and `next_tick` moved with it.
    """

    class Source(models.TextChoices):
        """The origin of a schedule."""

        CODE = "in code", _("in code")
        SETTINGS = "settings", _("settings")
        ADMIN = "admin", _("admin")

    class CatchUp(models.TextChoices):
        """The ticks that are enqueued late, after a time without a worker."""

        LATEST = "latest", _("the latest missed tick")
        NONE = "none", _("no missed tick")

    class Overlap(models.TextChoices):
        """The effect of a tick while the last attempt hasn't ended."""

        ALLOW = "allow", _("enqueue another attempt")
        SKIP = "skip", _("skip the tick")

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(_("name"), max_length=SCHEDULE_LENGTH, unique=True)
    source = models.CharField(
        _("source"), max_length=8, choices=Source.choices, default=Source.ADMIN, editable=False
    )
    is_declared = models.BooleanField(_("declared"), default=True, editable=False)
    declared_at = models.DateTimeField(_("last declared by a worker"), null=True, editable=False)
    cron = models.CharField(_("cron"), max_length=255)
    timezone = models.CharField(_("timezone"), max_length=64)
    target = models.CharField(_("target"), max_length=511)
    args = MeasuredBinaryField(_("arguments"), most=most_args_bytes)
    catch_up = models.CharField(
        _("after an outage"), max_length=6, choices=CatchUp.choices, default=CatchUp.LATEST
    )
    overlap = models.CharField(
        _("when the last one hasn't ended"),
        max_length=5,
        choices=Overlap.choices,
        default=Overlap.ALLOW,
    )
    queue = models.CharField(_("queue"), max_length=QUEUE_LENGTH, null=True, blank=True)
    priority = models.SmallIntegerField(_("priority"), null=True, blank=True)
    is_paused = models.BooleanField(_("paused"), default=False, editable=False)
    next_tick = models.DateTimeField(_("next tick"), null=True, editable=False)
    last_tick = models.DateTimeField(_("last tick"), null=True, editable=False)
    last_attempt = models.UUIDField(_("last attempt"), null=True, editable=False)
    num_skipped = models.IntegerField(_("skipped ticks"), default=0, editable=False)
    last_skipped = models.DateTimeField(_("last skipped tick"), null=True, editable=False)

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        permissions = (
            ("pause_schedule", _("Can pause and resume schedules")),
            ("enqueue_schedule", _("Can enqueue schedules now")),
        )
        constraints = (
            Bounds(
                name="aa_schedule_bounds",
                moments=("next_tick", "last_tick", "last_skipped", "declared_at"),
                numbers={"num_skipped": (0, MOST_COUNTED), "priority": (-100, 100)},
            ),
            HexIds(name="aa_schedule_ids", ids=("id", "last_attempt")),
        )

    def __str__(self) -> str:
        return printable(self.name)

    @property
    def when(self) -> Cron:
        """Its ticks. Raises InvalidOption if the row was edited past all checks."""
        return Cron(self.cron, self.timezone)

    @property
    def arguments(self) -> Arguments:
        """The arguments of the target, decrypted at each reading; raises as `plaintext` does."""
        return load_arguments(self.plaintext())

    def plaintext(self) -> Plaintext:
        """The arguments as bytes. Raises DecryptionError, CipherUnavailable, InvalidArguments."""
        remedy = "save it in the form, and give them again."
        require_fetched(self.args, f"schedule {self.pk}", remedy)
        return open_sealed(self.args, self.context())

    def seal(self, arguments: Arguments) -> None:
        """Encrypt the arguments for the present definition. Raises InvalidArguments."""
        self.seal_plaintext(dump_arguments(arguments))

    def seal_plaintext(self, plaintext: Plaintext) -> None:
        """Encrypt arguments that are bytes already for the present definition."""
        self.args = encrypt(plaintext, self.context())

    def context(self) -> Context:
        """The context of its sealed arguments: they open as long as it calls the same as often."""
        target, _dot, method_name = self.target.rpartition(".")
        realm = realm_of(database_of(self))
        definition = tuple(str(getattr(self, column)) for column in BOUND[1:])
        call = target, None, method_name
        return Context("schedule", self.id, *call, realm=realm, definition=definition)

    def declared(self, arguments: Arguments) -> DeclaredSchedule:
        """The declaration that code would have, with these arguments. Raises InvalidOption."""
        definition = {column: getattr(self, column) for column in DEFINITION}
        return DeclaredSchedule(name=self.name, arguments=arguments, **definition)
