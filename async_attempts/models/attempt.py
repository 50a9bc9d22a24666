"""The attempt: a durable promise to call one target's method with these arguments."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from ..conf import MODEL_SETTING
from ..lifecycle import Status
from ..limits import MOST_AT_ONCE
from ..printable import printable
from .awaited import AwaitedRow
from .bounds import (
    MAX_METADATA_BYTES,
    MOST_CLAIMS,
    MOST_COUNTED,
    Bounds,
    HasEndOnlyIfFinal,
    HexIds,
    IsHeldOnlyIfDue,
)
from .indexes import SelectiveIndex, UniqueWhereSet
from .querysets import AttemptManager


class AbstractAttempt(AwaitedRow):
    """All columns and behaviour of an attempt, for projects that add columns of their own.

    Name the subclass in the setting `ASYNC_ATTEMPTS_ATTEMPT_MODEL` before the first migration.
    """

    objects: ClassVar[AttemptManager[Any]] = AttemptManager()

    class Meta:
        abstract = True
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        permissions = (
            ("expire_attempt", _("Can expire attempts")),
            ("fail_attempt", _("Can fail attempts")),
            ("retry_attempt", _("Can retry attempts")),
        )
        indexes = (
            SelectiveIndex(
                fields=("queue", "num_crashes", "-priority", "scheduled_at", "id"),
                where=Q(status=Status.PENDING),
                lead=("status",),
                name="aa_%(class)s_claim",
            ),
            SelectiveIndex(
                fields=("scheduled_at", "id"),
                where=Q(status=Status.SCHEDULED),
                lead=("status",),
                name="aa_%(class)s_promote",
            ),
            SelectiveIndex(
                fields=("blockers", "limit_key", "-priority", "scheduled_at", "id"),
                where=Q(status=Status.WAITING),
                lead=("status",),
                name="aa_%(class)s_waiting",
            ),
            SelectiveIndex(
                fields=("completed_at",),
                where=Q(status__in=(Status.FAILED, Status.EXPIRED)),
                lead=("status",),
                name="aa_%(class)s_triage",
            ),
            SelectiveIndex(
                fields=("expires_at",),
                where=Q(expires_at__isnull=False, completed_at__isnull=True),
                lead=("completed_at",),
                name="aa_%(class)s_expires",
            ),
            SelectiveIndex(
                fields=("subject_type", "subject_id"),
                where=Q(subject_type__isnull=False),
                name="aa_%(class)s_subject",
            ),
        )
        constraints = (
            UniqueWhereSet(field="unique_key", name="aa_%(class)s_unique_key"),
            models.CheckConstraint(
                name="aa_%(class)s_completed_at",
                condition=HasEndOnlyIfFinal("status", "completed_at"),
            ),
            models.CheckConstraint(
                name="aa_%(class)s_claimed_by",
                condition=IsHeldOnlyIfDue("status", "claimed_by"),
            ),
            models.CheckConstraint(
                name="aa_%(class)s_blockers",
                condition=Q(blockers=0) | Q(status=Status.WAITING),
            ),
            Bounds(
                name="aa_%(class)s_bounds",
                moments=("scheduled_at", "expires_at", "created_at", "started_at", "completed_at"),
                durations=("timeout",),
                numbers={
                    "num_attempts": (0, MOST_COUNTED),
                    "max_attempts": (0, MOST_COUNTED),
                    "num_crashes": (0, MOST_COUNTED),
                    "claim_seq": (0, MOST_CLAIMS),
                    "blockers": (0, MOST_COUNTED),
                    "concurrency": (1, MOST_AT_ONCE),
                },
                sizes={"metadata": MAX_METADATA_BYTES},
            ),
            HexIds(name="aa_%(class)s_ids", ids=("id", "claimed_by")),
        )

    def __str__(self) -> str:
        return printable(f"{self.target}.{self.method_name}")


class Attempt(AbstractAttempt):
    """The attempt model of projects that need no columns of their own."""

    class Meta(AbstractAttempt.Meta):
        swappable = MODEL_SETTING
