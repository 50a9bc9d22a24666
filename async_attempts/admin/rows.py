"""Rows with values that can't be read or shown: the admin shows the rest of them.

PostgreSQL's `infinity`, years that Python doesn't have and JSON that is nested too deeply each make
reading a whole page of rows fail. Such a value is None on the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from django.contrib.admin.views.main import ChangeList
from django.db import DataError
from django.db.models import BinaryField, DateTimeField, Field, Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.timezone import localtime

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    _Mixed = ModelAdmin[Any]
else:
    _Mixed = object

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
    return [_shown(row) for row in found]


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


def _shown(row: Any) -> Any:
    """Set moments to None that local time can't have, such as the last hours of the year 9999."""
    columns = row.__dict__
    for field in row._meta.concrete_fields:
        if isinstance(field, DateTimeField) and (moment := columns.get(field.attname)):
            try:
                localtime(moment)
            except (ValueError, OverflowError):
                columns[field.attname] = None
    return row


class ReadableChangeList(ChangeList):
    """A list that shows what it can of each row."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.list_editable:
            # Read by the template, not by a verb, which needs no more than the query.
            self.result_list: Any = SimpleLazyObject(partial(readable, self.result_list))


class ReadableMixin(_Mixed):
    """Pages that show what they can of a row."""

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return ReadableChangeList

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        try:
            found = super().get_object(request, object_id, from_field)
        except UNREADABLE:
            field = from_field or self.opts.pk.name
            found = readable_or_none(self.get_queryset(request).filter(**{field: object_id}))
        return None if found is None else _shown(found)
