"""A schedule: which target is enqueued again and again, and when next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from django.db import models, router
from django.utils.translation import gettext_lazy as _

from ..conf import QUEUE_LENGTH, SCHEDULE_LENGTH, realm_of
from ..cron import Cron
from ..encryption import Context, encrypt, open_sealed
from ..exceptions import InvalidArguments, InvalidOption
from ..ids import made_at, uuid7
from ..instances import label_and_pk, load_by_label
from ..intervals import EPOCH, MOST_SECONDS, Interval, interval_of, require_one
from ..payload import Arguments, dump_arguments, load_arguments
from ..payload.limits import most_args_bytes
from ..plaintext import Plaintext, hides_arguments
from ..printable import printable
from ..suggestions import refuse_unknown
from ..targets.declared_schedule import DeclaredSchedule
from ..targets.schedule_options import OPTIONS
from . import ports
from .bounds import MAX_METADATA_BYTES, MOST_COUNTED, Bounds, HexIds
from .fields import MeasuredBinaryField, MeasuredJSONField
from .large_values import require_fetched
from .querysets import writing
from .saving import database_of
from .schedule_querysets import ScheduleQuerySet
from .seconds_field import SecondsField

DEFINITION = "cron every timezone target catch_up overlap queue priority options".split()
BOUND: Final = ("target", "name", "cron", "timezone", "overlap", "catch_up")
BOUND_IF_SET: Final = ("every", "until", "subject_type", "subject_id", "code_says")
"""The columns that the sealed arguments are bound to; a change of one in the table stops the
schedule."""

WRITTEN: Final = ("name", *DEFINITION, "until", "subject_type", "subject_id")
"""The columns that `save()` writes, beside the sealed arguments."""

CHANGEABLE: Final = frozenset(
    {*WRITTEN, *OPTIONS, "method_name", "method_args", "subject"}
    - {"options", "subject_type", "subject_id"}
)

MAX_OPTIONS_BYTES: Final = MAX_METADATA_BYTES + 2048
"""The metadata, and the other options beside it."""


def _option(name: str) -> Any:
    """Return the property of an option of the attempts, which the column `options` holds."""

    def read(schedule: Schedule) -> Any:
        return schedule.attempt_options.get(name)

    def write(schedule: Schedule, value: Any) -> None:
        options = {**schedule.attempt_options, name: value}
        schedule.options = {key: one for key, one in options.items() if one is not None} or None

    return property(read, write, doc=f"The option `{name}` of its attempts.")


class Schedule(models.Model):
    """One row for each schedule; a tick is a moment at which one is due.

    `next_tick` is None while it is paused, when code declares it no longer, and after `until`:
    then nothing of it is due. The row is locked while a tick is enqueued, and `next_tick` moved
    with it.

    `Schedule.objects.create()` takes `cron` or `every` (seconds or a timedelta), `target`,
    `method_name`, `method_args`, `subject`, `until`, `name`, `timezone`, `overlap`, `catch_up`,
    `queue`, `priority`, and what `ScheduleOptions` names.
    """

    class Source(models.TextChoices):
        """The origin of a schedule."""

        CODE = "in code", _("in code")
        SETTINGS = "settings", _("settings")
        ADMIN = "admin", _("admin")
        MADE = "made", _("made by code")

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
    cron = models.CharField(_("cron"), max_length=255, blank=True, default="")
    every = SecondsField(_("every"), null=True, blank=True)
    code_says = models.CharField(_("times in code"), max_length=255, null=True, editable=False)
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
    options = MeasuredJSONField(
        _("options of its attempts"), null=True, blank=True, most=MAX_OPTIONS_BYTES
    )
    subject_type = models.CharField(_("subject's model"), max_length=255, null=True, editable=False)
    subject_id = models.CharField(
        _("subject's primary key"), max_length=255, null=True, editable=False
    )
    until = models.DateTimeField(_("until"), null=True, blank=True)
    is_paused = models.BooleanField(_("paused"), default=False, editable=False)
    next_tick = models.DateTimeField(_("next tick"), null=True, editable=False)
    last_tick = models.DateTimeField(_("last tick"), null=True, editable=False)
    last_attempt = models.UUIDField(_("last attempt"), null=True, editable=False)
    num_skipped = models.IntegerField(_("skipped ticks"), default=0, editable=False)
    last_skipped = models.DateTimeField(_("last skipped tick"), null=True, editable=False)

    expires = _option("expires")
    timeout = _option("timeout")
    max_attempts = _option("max_attempts")
    keep_result = _option("keep_result")
    metadata = _option("metadata")
    limit_key = _option("limit_key")

    _plain: Arguments | None = None
    _method_name: str | None = None

    objects: ClassVar[Any] = ScheduleQuerySet.as_manager()

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        permissions = (
            ("pause_schedule", _("Can pause and resume schedules")),
            ("enqueue_schedule", _("Can enqueue schedules now")),
            ("override_schedule", _("Can change the times of schedules of code")),
        )
        indexes = (
            models.Index(fields=("next_tick",), name="aa_schedule_next_tick"),
            models.Index(fields=("subject_type", "subject_id"), name="aa_schedule_subject"),
        )
        constraints = (
            Bounds(
                name="aa_schedule_bounds",
                moments=("next_tick", "last_tick", "last_skipped", "declared_at", "until"),
                numbers={
                    "num_skipped": (0, MOST_COUNTED),
                    "priority": (-100, 100),
                    "every": (1, MOST_SECONDS),
                },
                sizes={"options": MAX_OPTIONS_BYTES},
            ),
            HexIds(name="aa_schedule_ids", ids=("id", "last_attempt")),
        )

    @hides_arguments
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)

    def __str__(self) -> str:
        return printable(self.name)

    @writing
    @hides_arguments
    def save(
        self,
        *,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Write the definition, and seal the arguments again if they are bound to what changed.

        A change of the times holds from now on. Pausing isn't part of it: see `pause`. Raises
        InvalidOption, InvalidTarget, InvalidArguments; nothing is written then.
        """
        alias = using or router.db_for_write(type(self), instance=self)
        names = None if update_fields is None else _columns_of(update_fields)
        ports.store_for(alias).schedules.save(self, names)

    def write(self, using: str, update_fields: Iterable[str] | None) -> None:
        """Write these columns, or insert the row, as it is: what is sealed is sealed already."""
        is_new = update_fields is None and self._state.adding
        super().save(force_insert=is_new, using=using, update_fields=update_fields)

    def forget_arguments(self) -> None:
        """Drop the arguments that were given: they are written."""
        self._plain = None

    @writing
    @hides_arguments
    def update(self, **changes: Any) -> None:
        """Set these attributes, and save them; `cron` takes the place of `every`, and vice versa.

        Raises as `save`.
        """
        refuse_unknown("update", changes, CHANGEABLE, InvalidOption)
        for one, other in (("every", "cron"), ("cron", "every")):
            if changes.get(one) is not None and other not in changes:
                changes[other] = "" if other == "cron" else None
        if "method_name" in changes and "target" not in changes:
            changes["target"] = self.target.rpartition(".")[0]
        for name, value in changes.items():
            setattr(self, name, value)
        self.save(update_fields=changes)

    @writing
    def pause(self) -> None:
        """Enqueue nothing more until it is resumed."""
        self._change("pause")

    @writing
    def resume(self) -> None:
        """Go on with the first tick after now."""
        self._change("resume")

    def _change(self, verb: str) -> None:
        alias = router.db_for_write(type(self), instance=self)
        getattr(ports.store_for(alias).schedules, verb)([self.pk])
        self.refresh_from_db(using=alias, fields=["is_paused", "next_tick"])

    @property
    def when(self) -> Cron | Interval:
        """Its ticks. Raises InvalidOption if the row was edited past all checks."""
        if self.every is None:
            return Cron(self.cron, self.timezone)
        require_one(self.cron, self.every)
        # The moment in its id, which its sealed arguments are bound to.
        anchor = made_at(self.id) or EPOCH
        return Interval(interval_of(self.every), anchor.replace(microsecond=0))

    def tick_after(self, moment: datetime) -> datetime | None:
        """Return the first tick after `moment`; None if it ends before."""
        tick = self.when.after(moment)
        return tick if self.until is None or tick <= self.until else None

    @property
    def times(self) -> str:
        """Its times as text: the cron, or "every 1:30:00"."""
        return times_text(self.cron, self.every)

    @property
    def attempt_options(self) -> Mapping[str, Any]:
        """The options of its attempts. Raises InvalidOption if the row was edited past all."""
        if self.options is None:
            return {}
        if not isinstance(self.options, Mapping):
            raise InvalidOption("options: what the table holds can't be read; give them again.")
        return self.options

    @property
    def subject(self) -> models.Model | None:
        """The business object that it is for; None if there is none, or none any more."""
        return load_by_label(self.subject_type, self.subject_id, database_of(self))

    @subject.setter
    def subject(self, instance: Any) -> None:
        self.subject_type, self.subject_id = label_and_pk(instance)

    @property
    def method_name(self) -> str:
        """The last part of the target's name."""
        return self._method_name or self.target.rpartition(".")[2]

    @method_name.setter
    def method_name(self, value: str | None) -> None:
        self._method_name = value

    @property
    def method_args(self) -> Any:
        """The arguments: a dict (keywords), a list (positional) or `Arguments` (both)."""
        arguments = self.arguments
        if arguments.args and arguments.kwargs:
            return arguments
        return list(arguments.args) if arguments.args else dict(arguments.kwargs)

    @method_args.setter
    def method_args(self, value: Any) -> None:
        try:
            self._plain = Arguments.of(value)
        except InvalidArguments:
            del value  # An error report would show it.
            raise

    @property
    def arguments(self) -> Arguments:
        """The arguments of the target, decrypted at each reading; raises as `plaintext` does."""
        return load_arguments(self.plaintext()) if self._plain is None else self._plain

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
        times, *others = self.times, self.timezone, self.overlap, self.catch_up
        definition = (self.name, times, *map(str, others), *self._bound_if_set())
        call = target, None, method_name
        return Context("schedule", self.id, *call, realm=realm, definition=definition)

    def _bound_if_set(self) -> Iterable[str]:
        if self.until is not None:
            yield f"until {self.until.astimezone(UTC).isoformat()}"
        if self.subject_type is not None or self.subject_id is not None:
            yield from ("subject", str(self.subject_type), str(self.subject_id))
        if self.code_says is not None:
            yield "changed by an operator"

    def declared(self, arguments: Arguments) -> DeclaredSchedule:
        """The declaration that code would have, with these arguments. Raises InvalidOption."""
        definition = {column: getattr(self, column) for column in DEFINITION}
        definition["options"] = self.attempt_options
        return DeclaredSchedule(
            name=self.name, arguments=arguments, source=self.source, **definition
        )


def times_text(cron: str | None, every: timedelta | None) -> str:
    """Return a schedule's times as text: the cron, or "every 1:30:00"."""
    return str(cron) if every is None else f"every {every}"


def _columns_of(names: Iterable[str]) -> set[str]:
    """Return the columns that these attributes are stored in."""
    columns: set[str] = set()
    for name in names:
        if name in OPTIONS:
            columns.add("options")
        elif name == "subject":
            columns |= {"subject_type", "subject_id"}
        else:
            columns.add({"method_name": "target", "method_args": "args"}.get(name, name))
    if others := sorted(columns.difference(WRITTEN, {"args"})):
        raise InvalidOption(
            f"{', '.join(others)}: save() writes what a schedule says; pause() and resume() are "
            "methods, and the rest is kept by workers."
        )
    return columns
