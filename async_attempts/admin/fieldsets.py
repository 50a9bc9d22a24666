"""The columns on the page of an attempt, under their headings."""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import FieldDoesNotExist
from django.db.models import BinaryField, DateTimeField, JSONField, Model
from django.db.models.constants import LOOKUP_SEP
from django.utils.translation import gettext_lazy as _

from ..models import AbstractAttempt

_PROMISE: Final = """
id target target_pk method_name about idempotence_token schedule metadata
"""
_STATE: Final = """
reason error_class how_far cancel_requested num_attempts num_crashes claim_seq
blockers has_dependents
"""
_GROUPS: Final = (
    (None, "explanation state_badge executions performed_by"),
    (_("Promise"), _PROMISE),
    (_("State"), _STATE),
    (_("Times"), "created_at scheduled_at started_at completed_at expires_at"),
    (_("Options"), "queue priority max_attempts timeout keep_result limit_key concurrency"),
)


def sealed_columns(model: type[Model]) -> list[str]:
    """Return the ciphertexts and digests, which the admin neither reads nor shows."""
    return [f.name for f in model._meta.concrete_fields if isinstance(f, BinaryField)]


def heavy_columns(model: type[Model]) -> list[str]:
    """Return the columns that no list reads: sealed ones, and JSON, which may be long."""
    return [f.name for f in model._meta.concrete_fields if isinstance(f, BinaryField | JSONField)]


def columns_apart(model: type[Model]) -> list[str]:
    """Return the columns that a list of other rows doesn't read: `heavy_columns` and moments."""
    fields = model._meta.concrete_fields
    return [f.name for f in fields if isinstance(f, BinaryField | JSONField | DateTimeField)]


def asks_sealed_column(model: type[Model], lookup: str) -> bool:
    """Return True for a lookup such as `args__gt`, which would tell a sealed value bit by bit."""
    here: Any = model
    for name in lookup.split(LOOKUP_SEP):
        try:
            field = here._meta.pk if name == "pk" else here._meta.get_field(name)
        except FieldDoesNotExist:
            return False
        if isinstance(field, BinaryField):
            return True
        if (here := field.related_model) is None:
            return False
    return False


def fieldsets_of(model: type[AbstractAttempt]) -> list[tuple[Any, dict[str, Any]]]:
    """Return all columns in groups, a project's own columns in the last one."""
    groups: list[tuple[Any, dict[str, Any]]] = [
        (title, {"fields": names.split()}) for title, names in _GROUPS
    ]
    known = {field.name for field in AbstractAttempt._meta.get_fields()} | {*sealed_columns(model)}
    added = [field.name for field in model._meta.concrete_fields if field.name not in known]
    return [*groups, (_("Further"), {"fields": added})] if added else groups
