"""The pace of one target and key: what debounced and throttled calls have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from django.db import models

from ..exceptions import InvalidOption
from ..targets import Pacing, Policy, TargetName, pacing_of
from ..values import CENTURY
from .bounds import MOST_COUNTED, Bounds, HexIds
from .fields import DigestField
from .keys import key_of_pace


class Pace(models.Model):
    """The last attempt of one target and key, and how many calls it stands for.

    Callers lock this row until their transactions end, and no worker ever does: so there is one
    waiting attempt for a key, and an open transaction holds up no execution of an older one.
    """

    key = DigestField(max_length=16, primary_key=True)
    attempt_id = models.UUIDField(null=True)
    """None before the first one, and when the last one is known to have begun and is gone."""
    calls = models.IntegerField(default=0)
    period = models.FloatField(default=0.0)
    """Seconds from a begin to the next; 0 where only what waits matters."""
    look_at = models.DateTimeField(db_index=True)
    """When to look whether it may be forgotten. Without an attempt: when the next may begin."""

    class Meta:
        default_permissions = ()
        constraints = (
            Bounds(
                name="aa_pace_bounds",
                moments=("look_at",),
                numbers={"calls": (0, MOST_COUNTED), "period": (0, CENTURY)},
            ),
            HexIds(name="aa_pace_ids", ids=("attempt_id",)),
        )

    def __str__(self) -> str:
        return f"pace of {self.attempt_id}"


class Paced(NamedTuple):
    """How a new row is debounced or throttled: with the others of this key."""

    key: bytes
    pacing: Pacing


def paced(
    name: TargetName, policy: Policy, given: Mapping[str, Any], row: Mapping[str, Any]
) -> Paced | None:
    """How a new row of these columns is to be paced, if it is.

    Raises InvalidOption for options that are wrong, and for a token or a time beside them.
    """
    pacing = pacing_of(policy, given)
    if pacing is None:
        return None
    off = f"leave it out, or say {pacing.name}=False for this call"
    if row["idempotence_token"] is not None:
        raise InvalidOption(
            f"idempotence_token, {pacing.name}: a token keeps the first call, {pacing.name} the "
            f"last one of several; {off}."
        )
    if row.get("edges") or row.get("is_prerequisite"):
        raise InvalidOption(
            f"depends_on, {pacing.name}: the attempt that waits already keeps what it depends on, "
            f"and what depends on it; {off}."
        )
    if row["scheduled_at"] is not None:
        raise InvalidOption(f"scheduled_at, {pacing.name}: both say when it is due; {off}.")
    return Paced(key_of_pace(name, pacing), pacing)
