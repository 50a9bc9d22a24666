"""Expressions that several moves write: moments by the database's clock, ends of attempts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from django.db.models import (
    Case,
    DateTimeField,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    Value,
    When,
)
from django.db.models.functions import Greatest
from django.db.models.lookups import GreaterThan

from ..lifecycle import Status
from ..models import DatabaseNow

UNCOUNTED: Final = Greatest(F("num_attempts") - 1, 0)
"""The number of executions without the one that a claim has counted; a person may have set it to 0
meanwhile."""


class RowId(Func):
    """SQLite's own key of a row, which is a number whatever its columns hold."""

    template = "rowid"
    arity = 0
    output_field = IntegerField()


def seconds_from_now(seconds: float) -> Any:
    """Return the database's now and `seconds` more, as an expression."""
    if not seconds:
        return DatabaseNow()
    later = DatabaseNow() + timedelta(seconds=seconds)
    return ExpressionWrapper(later, output_field=DateTimeField())


def status_when_due(moment: Any) -> Any:
    """Return the status, as an expression, of an attempt that is due at `moment`.

    `moment`: an aware datetime or an expression.
    """
    value = moment if hasattr(moment, "resolve_expression") else Value(moment)
    later = GreaterThan(value, DatabaseNow())
    return Case(When(later, then=Value(Status.SCHEDULED)), default=Value(Status.PENDING))


def ended(status: Status, **columns: Any) -> dict[str, Any]:
    """Return the columns of an attempt that ends now."""
    return {"status": status, "completed_at": DatabaseNow(), **columns}
