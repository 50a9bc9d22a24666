"""A column of whole seconds that is a timedelta in Python."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.db.models import IntegerField

from ..values import is_number

if TYPE_CHECKING:
    _Integer = IntegerField[Any, Any]
else:
    # Django's fields take no type parameters when they are run.
    _Integer = IntegerField


class SecondsField(_Integer):
    """Whole seconds; takes a timedelta or a number, and reads as a timedelta.

    Not Django's DurationField, whose values on PostgreSQL may be longer than Python can read.
    """

    validators: Any = ()

    def deconstruct(self) -> tuple[str, str, Any, dict[str, Any]]:
        # In a migration there is nothing to be read.
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.IntegerField", args, kwargs

    def from_db_value(self, value: Any, *_: Any) -> Any:
        return timedelta(seconds=value) if is_number(value) else value

    def to_python(self, value: Any) -> Any:
        if value is None or isinstance(value, timedelta):
            return value
        return timedelta(seconds=super().to_python(value))

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, timedelta):
            value = int(value.total_seconds())
        return super().get_prep_value(value)

    def value_to_string(self, obj: Any) -> str:
        value = self.value_from_object(obj)
        return "" if value is None else str(self.get_prep_value(value))

    def formfield(self, **options: Any) -> Any:
        options.setdefault("form_class", forms.DurationField)
        kind: Any = super(IntegerField, self)
        return kind.formfield(**options)
