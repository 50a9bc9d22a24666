"""The record of one execution that did not succeed."""

from __future__ import annotations

import json
from functools import cached_property
from time import monotonic
from typing import Any, Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..conf import attempt_model_name
from ..encryption import Context, Stored, open_sealed, seal
from ..exceptions import CipherUnavailable, DecryptionError
from ..ids import uuid7
from ..lifecycle import FailureKind
from ..payload.limits import MOST_DETAILS_BYTES
from ..plaintext import Plaintext
from ..printable import printable
from .bounds import Bounds, HexIds
from .fields import MeasuredBinaryField
from .large_values import size_of_unfetched, too_large_to_show

UNSEALED: Final = b"\xffcould not be sealed: "
"""The first bytes of details that could not be sealed; the class of the cipher's error follows.
No version of sealed or plain bytes begins so."""

LONGEST_SILENCE: Final = 60.0
"""Seconds."""


class Opened:
    """The opened details of a failure; its repr shows nothing of them."""

    __slots__ = ("message", "traceback")

    def __init__(self, message: str, traceback: str = "") -> None:
        self.message = message
        self.traceback = traceback


class Failure(models.Model):
    """One row for each execution that did not succeed; successes write none."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    attempt = models.ForeignKey(
        attempt_model_name(), models.CASCADE, related_name="failures", verbose_name=_("attempt")
    )
    number = models.PositiveIntegerField(_("execution"))
    kind = models.CharField(_("kind"), max_length=16, choices=FailureKind.choices)
    error_class = models.CharField(_("error"), max_length=255)
    details = MeasuredBinaryField(_("sealed message and traceback"), most=MOST_DETAILS_BYTES)
    started_at = models.DateTimeField(_("began"), null=True)
    failed_at = models.DateTimeField(_("failed"))
    worker = models.UUIDField(_("worker"), null=True)

    class Meta:
        verbose_name = _("failure")
        verbose_name_plural = _("failures")
        constraints = (
            Bounds(name="aa_failure_bounds", moments=("started_at", "failed_at")),
            HexIds(name="aa_failure_ids", ids=("id", "attempt", "worker")),
        )

    def __str__(self) -> str:
        return f"{self.number}: {printable(self.error_class)}"

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        # Decrypted text is pickled nowhere.
        state.pop("_opened", None)
        return state

    @property
    def message(self) -> str:
        """The message of the error; decrypted when first read."""
        return self._opened.message

    @property
    def traceback(self) -> str:
        """The traceback, without the source of local variables; decrypted when first read."""
        return self._opened.traceback

    @cached_property
    def _opened(self) -> Opened:
        if (size := size_of_unfetched(self.details)) is not None:
            return Opened(f"({too_large_to_show(size)})")
        context = self.attempt.context("error", self.number)
        if is_unsealed(self.details):
            # Nothing authenticates them: anybody who writes rows can make them up.
            said = bytes(self.details[1:]).decode(errors="replace")
            return Opened(f"({printable(said)})")
        try:
            return Opened(**json.loads(open_sealed(self.details, context)))
        except (DecryptionError, CipherUnavailable) as error:
            return Opened(f"({error})")


class Sealing:
    """Seals details, and gives up on them while the cipher can't be reached: one process's.

    A cipher may wait for its server until a timeout, and many failures are recorded one after the
    other, in a transaction with rows locked: so after a try in vain the next ones are recorded
    without details for as long as that try took.
    """

    def __init__(self) -> None:
        self._try_again_at = 0.0
        self._marked = b""

    def details(self, plaintext: Plaintext, context: Context) -> bytes:
        """The sealed bytes, or bytes that say why there are none. Never raises."""
        began = monotonic()
        if began < self._try_again_at:
            return self._marked
        try:
            return seal(plaintext, context)
        except CipherUnavailable as error:
            ended = monotonic()
            self._marked = UNSEALED + error.error_class.encode()
            self._try_again_at = ended + min(ended - began, LONGEST_SILENCE)
            return self._marked


_sealing: Final = Sealing()


def sealed_details(message: str, traceback: str, context: Context) -> bytes:
    """Message and traceback as `Failure.details` stores them; `context` is for "error".

    A failure is recorded whatever the cipher does: what it can't seal is left out, and the details
    say only that, and the class of what the cipher raised.
    """
    plaintext = Plaintext(json.dumps({"message": message, "traceback": traceback}).encode())
    return _sealing.details(plaintext, context)


def is_unsealed(details: Stored) -> bool:
    """True for details that say only that nothing could be sealed."""
    return bytes(details[: len(UNSEALED)]) == UNSEALED
