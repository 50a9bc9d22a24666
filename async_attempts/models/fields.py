"""The three columns that Django has no field for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BinaryField, CharField

from ..lifecycle import RUNNING, Status
from ..targets import target_column

if TYPE_CHECKING:
    Text = CharField[str, str]
    AnyText = CharField[Any, Any]
    Bytes = BinaryField[Any, Any]
else:
    # Django's fields take no type parameters when they are run.
    Text = AnyText = CharField
    Bytes = BinaryField


class StatusField(Text):
    """One of the six statuses; any other word raises ValueError, in a lookup too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_length=9, choices=Status.choices, **options)

    def deconstruct(self) -> tuple[str, str, Any, dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        for fixed in ("max_length", "choices"):
            kwargs.pop(fixed, None)
        return name, path, args, kwargs

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        if isinstance(value, str) and value and value not in Status.values:
            if value == RUNNING:
                raise ValueError(
                    "status: 'running' is a fact, not a status; use Attempt.objects.running()."
                )
            raise ValueError(f"status: {value!r} is none of {', '.join(Status.values)}.")
        return value


class TargetField(AnyText):
    """The dotted name of a module or class; lookups take the module or the class itself."""

    def get_prep_value(self, value: Any) -> Any:
        if value is not None and not isinstance(value, str) and not hasattr(value, "resolve"):
            value = target_column(value)
        return super().get_prep_value(value)


class DigestField(Bytes):
    """Sixteen bytes. MySQL can't index the BLOB that Django's BinaryField makes there."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "binary(16)" if connection.vendor == "mysql" else super().db_type(connection)
