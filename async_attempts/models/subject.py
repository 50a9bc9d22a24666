"""The subject: the business object that an attempt is about, in the columns of its two parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.apps import apps
from django.core.exceptions import EmptyResultSet, FieldError
from django.db.models import Field, Lookup, Model
from django.db.models.expressions import ColPairs, Expression
from django.db.models.lookups import Exact, In, IsNull
from django.db.models.sql.compiler import SQLCompiler
from django.db.models.sql.where import AND, OR, WhereNode

from ..exceptions import InvalidOption
from ..instances import label_and_pk, load_by_label
from .saving import database_of

if TYPE_CHECKING:
    _Field = Field[Any, Model | None]
    _Lookup = Lookup[Any]
else:
    # Django's own take no type parameters when they are run.
    _Field, _Lookup = Field, Lookup

PARTS: Final = ("subject_type", "subject_id")
"""The columns: the label of a model ("app.model"), and the text of a primary key."""


class Key(NamedTuple):
    """A subject in a lookup: the labels that it may be stored with, and its primary key."""

    labels: tuple[str, ...]
    pk: str


def key_of(instance: Any) -> Key:
    """Return the key of a saved instance. Raises InvalidOption for anything else.

    A proxy's instance is the same object as the one of the model that has the table.
    """
    label, pk = label_and_pk(instance)
    if label is None or pk is None:
        raise InvalidOption("subject: None is no object; use subject=None or subject__isnull.")
    return Key(labels_of(instance.__class__), pk)


def labels_of(model: type[Model]) -> tuple[str, ...]:
    """Return the labels of all models that have the rows of this one: itself and its proxies."""
    concrete = model._meta.concrete_model
    others = (m for m in apps.get_models() if m._meta.concrete_model is concrete)
    return tuple(sorted({m._meta.label_lower for m in (model, *others)}))


class SubjectColumns(ColPairs):
    """The two columns in a query, to be compared and not to be selected."""

    def select_format(self, compiler: SQLCompiler, sql: str, params: Any) -> Any:
        raise FieldError("subject: has no column; select subject_type and subject_id.")


class SubjectAttribute:
    """Reads the object from its database, None when it is gone; takes a saved instance or None."""

    def __init__(self, field: Any) -> None:
        self.field = field

    def __get__(self, row: Any, owner: Any = None) -> Any:
        if row is None:
            return self.field
        return load_by_label(row.subject_type, row.subject_id, database_of(row))

    def __set__(self, row: Any, instance: Any) -> None:
        row.subject_type, row.subject_id = label_and_pk(instance)
        if row._state.adding:
            row._state.has_no_subject = instance is None


def takes_subject(row: Any) -> bool:
    """Return True for a new row that was given no subject, and not told to have none."""
    return row.subject_type is None and not getattr(row._state, "has_no_subject", False)


class SubjectField(_Field):
    """Lets queries say `subject=order`; it has no column of its own."""

    descriptor_class: Any = SubjectAttribute

    def __init__(self, verbose_name: Any = None) -> None:
        super().__init__(verbose_name, editable=False, serialize=False, blank=True, null=True)

    def deconstruct(self) -> Any:
        name, path, _, _ = super().deconstruct()
        return name, path, [], {}

    def contribute_to_class(self, cls: Any, name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only=True)
        setattr(cls, name, self.descriptor_class(self))

    def get_attname_column(self) -> Any:
        return self.get_attname(), None

    def get_col(self, alias: str, output_field: Any = None) -> Any:
        columns: Any = tuple(self.model._meta.get_field(part) for part in PARTS)
        return SubjectColumns(alias, columns, columns, output_field or self)

    @property
    def cached_col(self) -> Any:
        return self.get_col(self.model._meta.db_table)


class SubjectLookup(_Lookup):
    """A lookup that is put together of lookups of the two columns."""

    prepare_rhs = False

    def keys(self) -> Iterable[Key]:
        raise NotImplementedError

    def get_prep_lookup(self) -> Any:
        return list(self.keys())

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:
        label, pk = (column for column in self.lhs.get_source_expressions())
        by_labels: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for key in self.rhs:
            by_labels[key.labels].add(key.pk)
        if not by_labels:
            raise EmptyResultSet
        # Models apart from each other, so that each is a range of the index.
        models: list[Any] = [
            WhereNode([_among(label, labels), _among(pk, pks)], AND)
            for labels, pks in by_labels.items()
        ]
        condition: Any = WhereNode(models, OR)
        sql, params = compiler.compile(condition)
        return f"({sql})", params


@SubjectField.register_lookup
class SubjectExact(SubjectLookup):
    """`subject=order`; Django makes `subject=None` an `isnull`."""

    lookup_name = "exact"

    def get_prep_lookup(self) -> Any:
        return None if self.rhs is None else super().get_prep_lookup()

    def keys(self) -> Iterable[Key]:
        yield key_of(self.rhs)


@SubjectField.register_lookup
class SubjectIn(SubjectLookup):
    """`subject__in=[order, customer]`, of any models."""

    lookup_name = "in"

    def keys(self) -> Iterable[Key]:
        if not isinstance(self.rhs, list | tuple | set | frozenset):
            raise InvalidOption(
                "subject__in: must be a list of saved model instances; of a queryset make a list."
            )
        yield from map(key_of, self.rhs)


@SubjectField.register_lookup
class SubjectIsNull(IsNull):
    """`subject=None`, `subject__isnull=True`: about no object."""

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> Any:
        label, _ = self.lhs.get_source_expressions()
        return compiler.compile(IsNull(label, self.rhs))


def _among(column: Expression, values: Iterable[str]) -> Any:
    some = sorted(values)
    return Exact(column, some[0]) if len(some) == 1 else In(column, some)
