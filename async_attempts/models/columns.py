"""The columns of an attempt."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..conf import QUEUE_LENGTH
from ..ids import uuid7
from ..lifecycle import Status
from ..payload.limits import MAX_REASON_BYTES, MOST_RESULT_BYTES, most_args_bytes
from ..targets import LIMIT_KEY_LENGTH
from .bounds import MAX_METADATA_BYTES
from .fields import (
    DigestField,
    MeasuredBinaryField,
    MeasuredJSONField,
    MeasuredTextField,
    StatusField,
    TargetField,
)

TOKEN_LENGTH: Final = 200
NOTE_LENGTH: Final = 255


class AttemptColumns(models.Model):
    """What a row holds.

    Columns without a default are filled when the row is enqueued: from the caller, else from the
    target's `@attemptable`, else from the settings.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    queue = models.CharField(_("queue"), max_length=QUEUE_LENGTH)
    priority = models.SmallIntegerField(_("priority"))
    target = TargetField(_("target"), max_length=255)
    target_pk = models.CharField(_("target's primary key"), max_length=255, null=True)
    method_name = models.CharField(_("method"), max_length=255)
    args = MeasuredBinaryField(_("arguments"), most=most_args_bytes)
    idempotence_token = models.CharField(_("idempotence token"), max_length=TOKEN_LENGTH, null=True)
    unique_key = DigestField(max_length=16, null=True)

    status = StatusField(verbose_name=_("status"), default=Status.PENDING)
    reason: models.TextField[str, str] = MeasuredTextField(
        _("reason"), blank=True, default="", most=MAX_REASON_BYTES
    )
    num_attempts = models.IntegerField(_("executions"), default=0)
    max_attempts = models.IntegerField(_("most executions"), null=True)
    num_crashes = models.SmallIntegerField(_("crashes"), default=0)
    claim_seq = models.BigIntegerField(_("claims"), default=0)
    claimed_by = models.UUIDField(_("worker"), null=True)
    cancel_requested = models.BooleanField(_("cancel requested"), default=False)

    scheduled_at = models.DateTimeField(_("due"))
    expires_at = models.DateTimeField(_("expires"), null=True)
    timeout = models.FloatField(_("timeout"), null=True, help_text=_("seconds"))
    created_at = models.DateTimeField(_("created"))
    started_at = models.DateTimeField(_("last claimed"), null=True)
    completed_at = models.DateTimeField(_("ended"), null=True)

    keep_result = models.BooleanField(_("keep the result"))
    # Its column is `result`; that name is the method that waits for it.
    sealed_result = MeasuredBinaryField(
        _("stored result"), null=True, db_column="result", most=MOST_RESULT_BYTES
    )
    error_class = models.CharField(_("last error"), max_length=255, blank=True, default="")
    progress = models.SmallIntegerField(_("progress in percent"), null=True)
    progress_note = models.CharField(max_length=NOTE_LENGTH, blank=True, default="")

    blockers = models.IntegerField(_("unmet prerequisites"), default=0)
    has_dependents = models.BooleanField(default=False)
    limit_key = models.CharField(
        _("limit key"), max_length=LIMIT_KEY_LENGTH, blank=True, default=""
    )
    concurrency = models.SmallIntegerField(_("most of its limit key at once"), null=True)
    subject_type = models.CharField(_("subject's model"), max_length=255, null=True)
    subject_id = models.CharField(_("subject's primary key"), max_length=255, null=True)
    schedule = models.CharField(_("schedule"), max_length=255, null=True)
    metadata = MeasuredJSONField(_("metadata"), default=dict, blank=True, most=MAX_METADATA_BYTES)

    class Meta:
        abstract = True
