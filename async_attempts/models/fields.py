"""Columns: their marks, which say what may become of a value, and the fields that Django lacks."""

from __future__ import annotations

from collections.abc import Callable
from enum import Flag, auto
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BinaryField, CharField, Field, JSONField, Model, TextField
from django.db.models.sql.compiler import SQLCompiler

from ..exceptions import InvalidArguments
from ..lifecycle import RUNNING, Status
from ..targets import target_column
from .large_values import OCTETS, fetched, size_of_unfetched

if TYPE_CHECKING:
    Text = CharField[str, str]
    AnyText = CharField[Any, Any]
    Bytes = BinaryField[Any, Any]
    LongText = TextField[str, str]
    Json = JSONField[Any, Any]
    _Mixed = Field[Any, Any]
else:
    # Django's fields take no type parameters when they are run.
    Text = AnyText = CharField
    Bytes, LongText, Json = BinaryField, TextField, JSONField
    _Mixed = object


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


class _Measured(_Mixed):
    """A column of whose values every query of the ORM fetches at most `most` bytes.

    `most`: a number, or what gives one when a query is made. What stands in for a larger value
    says how large it is; see `fetched`. The column in the table is that of Django's own field.
    """

    path: ClassVar[str]

    def __init__(self, *args: Any, most: int | Callable[[], int], **options: Any) -> None:
        self.most = most
        super().__init__(*args, **options)

    @property
    def most_bytes(self) -> int:
        """The bytes of the largest value that is fetched now."""
        return self.most() if callable(self.most) else self.most

    def select_format(
        self, compiler: SQLCompiler, sql: str, params: tuple[Any, ...]
    ) -> tuple[str, tuple[Any, ...]]:
        sql, params = super().select_format(compiler, sql, params)
        vendor = compiler.connection.vendor
        if vendor not in OCTETS:
            return sql, params
        measured = fetched(vendor, self.get_internal_type(), sql, self.most_bytes)
        return measured, tuple(params) * measured.count(sql)

    def deconstruct(self) -> tuple[str, str, Any, dict[str, Any]]:
        # In a migration there is nothing to be read.
        name, _, args, kwargs = super().deconstruct()
        return name, self.path, args, kwargs

    def clone(self) -> Self:
        _, _, args, kwargs = self.deconstruct()
        kind: Any = type(self)
        copied: Self = kind(*args, most=self.most, **kwargs)
        return copied


class MeasuredTextField(_Measured, LongText):
    """A text that is fetched if it isn't too large."""

    path = "django.db.models.TextField"


class MeasuredJSONField(_Measured, Json):
    """JSON that is fetched if it isn't too large; in place of it comes a string."""

    path = "django.db.models.JSONField"


class MeasuredBinaryField(_Measured, Bytes):
    """Bytes that are fetched if they aren't too many; see `size_of_unfetched`."""

    path = "django.db.models.BinaryField"

    def get_db_prep_value(self, value: Any, *args: Any, **options: Any) -> Any:
        if size_of_unfetched(value) is not None:
            raise InvalidArguments(f"{self.name}: was too large to be fetched, so it isn't saved.")
        return super().get_db_prep_value(value, *args, **options)
