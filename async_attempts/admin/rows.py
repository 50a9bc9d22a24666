"""Rows as the admin reads them: no sealed column, and what can be read of a broken row.

PostgreSQL's `infinity`, years that Python doesn't have and JSON that is nested too deeply each make
reading a whole page of rows fail. Such a value is None on the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.core.exceptions import FieldDoesNotExist
from django.db import DataError
from django.db.models import BinaryField, DateTimeField, Field, JSONField, Model, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.utils.timezone import localtime

UNREADABLE: Final = (
    DataError,
    ValueError,
    OverflowError,
    RecursionError,
    # Raised by Django's converters for a text of SQLite that is no moment.
    AttributeError,
    TypeError,
)


def readable(rows: QuerySet[Any]) -> list[Any]:
    """Return all of `rows`, read one by one, and column by column, only where that is needed."""
    try:
        found = list(rows)
    except UNREADABLE:
        keys = list(rows.values_list("pk", flat=True))
        one_by_one = rows.all()
        one_by_one.query.clear_limits()
        found = [_read(one_by_one.filter(pk=key)) for key in keys]
    return [without_unreadable_moments(row) for row in found]


def readable_or_none(rows: QuerySet[Any]) -> Any:
    """Return the only one of `rows`, or None."""
    return next(iter(readable(rows)), None)


def _read(only_one: QuerySet[Any]) -> Any:
    try:
        return only_one.get()
    except UNREADABLE:
        row = only_one.defer(*_own_columns(only_one.model)).get()
    for field in _unread(row):
        try:
            value = only_one.values_list(field.attname, flat=True).get()
        except UNREADABLE:
            value = None
        setattr(row, field.attname, value)
    return row


def _own_columns(model: type[Model]) -> list[str]:
    """Return the columns but for the keys, by which the row and others with it are found."""
    fields = model._meta.concrete_fields
    return [field.name for field in fields if not (field.primary_key or field.is_relation)]


def _unread(row: Model) -> Iterable[Field[Any, Any]]:
    """Return the deferred columns that are still to be read; sealed ones are never read."""
    deferred = row.get_deferred_fields()
    fields = row._meta.concrete_fields
    return (f for f in fields if f.attname in deferred and not isinstance(f, BinaryField))


def without_unreadable_moments(row: Any) -> Any:
    """Set moments to None that local time can't have, such as the last hours of the year 9999."""
    columns = row.__dict__
    for field in row._meta.concrete_fields:
        if isinstance(field, DateTimeField) and (moment := columns.get(field.attname)):
            try:
                localtime(moment)
            except (ValueError, OverflowError):
                columns[field.attname] = None
    return row


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
