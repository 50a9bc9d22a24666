"""Marks on columns: what may become of a value once its attempt is enqueued."""

from __future__ import annotations

from enum import Flag, auto
from functools import cache
from typing import Any, Final, TypeVar

from django.db.models import Field, Model

_Field = TypeVar("_Field", bound="Field[Any, Any]")


class Mark(Flag):
    """The marks of one column; `save()` may write a column that is neither promise nor state."""

    PROMISE = auto()
    """Never changes."""
    STATE = auto()
    """Only the moves of the lifecycle change it."""
    CHOSEN = auto()
    """An option that the caller may give to a new attempt."""
    BOUND = auto()
    """Every ciphertext of the attempt is bound to it."""


PROMISE: Final = Mark.PROMISE
STATE: Final = Mark.STATE
CHOSEN: Final = Mark.CHOSEN
BOUND: Final = Mark.BOUND


def mark(field: _Field, marks: Mark) -> _Field:
    """Put `marks` on a column. Migrations don't show them."""
    field.__dict__["marks"] = marks
    return field


@cache
def marked(model: type[Model], marks: Mark) -> tuple[str, ...]:
    """Return the names of the columns that have any of `marks`, in their order."""
    return tuple(
        field.attname
        for field in model._meta.concrete_fields
        if field.__dict__.get("marks", Mark(0)) & marks
    )
