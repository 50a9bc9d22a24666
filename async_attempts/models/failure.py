"""The record of one execution that did not succeed."""

from __future__ import annotations

import json
from functools import cached_property

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..conf import attempt_model_name
from ..encryption import Context, cipher
from ..exceptions import DecryptionError
from ..ids import uuid7
from ..lifecycle import FailureKind


class Failure(models.Model):
    """One row for each execution that did not succeed; successes write none."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    attempt = models.ForeignKey(
        attempt_model_name(), models.CASCADE, related_name="failures", verbose_name=_("attempt")
    )
    number = models.PositiveIntegerField(_("execution"))
    kind = models.CharField(_("kind"), max_length=16, choices=FailureKind.choices)
    error_class = models.CharField(_("error"), max_length=255)
    details = models.BinaryField(_("sealed message and traceback"))
    started_at = models.DateTimeField(_("began"), null=True)
    failed_at = models.DateTimeField(_("failed"))
    worker = models.UUIDField(_("worker"), null=True)

    class Meta:
        verbose_name = _("failure")
        verbose_name_plural = _("failures")

    def __str__(self) -> str:
        return f"{self.number}: {self.error_class}"

    @property
    def message(self) -> str:
        """What the error said; decrypted when first read."""
        return self._opened["message"]

    @property
    def traceback(self) -> str:
        """Where it was raised, without the source of local variables; decrypted when first read."""
        return self._opened["traceback"]

    @cached_property
    def _opened(self) -> dict[str, str]:
        attempt = self.attempt
        context = Context(
            "error", attempt.pk, attempt.target, attempt.target_pk, attempt.method_name
        )
        try:
            opened: dict[str, str] = json.loads(cipher().decrypt(self.details, context))
        except DecryptionError as error:
            return {"message": f"({error})", "traceback": ""}
        return opened


def sealed_details(message: str, traceback: str, context: Context) -> bytes:
    """Message and traceback as `Failure.details` stores them; `context` is for "error"."""
    return cipher().encrypt(
        json.dumps({"message": message, "traceback": traceback}).encode(), context
    )
