"""Between the columns of the attempt model and the values in a statement, without an ORM query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from django.db import connections
from django.db.models import Expression, Field

from ..models import AbstractAttempt, AttemptQuerySet, DatabaseNow
from ..models.fields import StatusField

PLAIN_TYPES: Final = frozenset({str, int, float, bool})
PLAIN_FIELDS: Final = frozenset(
    "CharField TextField SmallIntegerField PositiveIntegerField PositiveSmallIntegerField "
    "IntegerField BigIntegerField BooleanField FloatField".split()
)

PLAIN_HOMES: Final = frozenset({Field.__module__, StatusField.__module__})

UNLIKE_LITERALS: Final = frozenset("%\\")
"""A driver takes the one for a parameter, MySQL the other for an escape."""

Placed = tuple[str, Sequence[Any]]


class Column(NamedTuple):
    """One column of the INSERT. Its usual value is written as a literal: fewer parameters."""

    attname: str
    name: str
    field: Field[Any, Any]
    usual: Any
    literal: str
    is_plain: bool
    has_pre_save: bool


class Columns:
    """All columns of the attempt model, on one database."""

    def __init__(self, attempts: AttemptQuerySet[Any], alias: str) -> None:
        self.attempts = attempts
        self.alias = alias
        meta = attempts.model._meta
        quote = connections[alias].ops.quote_name
        self.table = str(quote(meta.db_table))
        self.all = [_column(field, quote) for field in meta.concrete_fields if not field.generated]
        self.names = ", ".join(column.name for column in self.all)

    def values_of(self, attempt: AbstractAttempt) -> list[Any]:
        """The values to be written, in the order of `all`; some are expressions."""
        row = attempt.__dict__
        return [
            column.field.pre_save(attempt, add=True) if column.has_pre_save else row[column.attname]
            for column in self.all
        ]

    def placed(self, column: Column, value: Any) -> Placed:
        """What stands for `value` in the statement, and its parameters."""
        if value is column.usual or value == {} == column.usual:
            return column.literal, ()
        if value is None:
            return "NULL", ()
        if hasattr(value, "resolve_expression"):
            return self.compiled(value)
        return "%s", (self.prepared(column, value),)

    def prepared(self, column: Column, value: Any) -> Any:
        """`value` as the driver takes it."""
        if column.is_plain and type(value) in PLAIN_TYPES:
            return value
        return column.field.get_db_prep_save(value, connections[self.alias])

    def compiled(self, expression: Expression) -> Placed:
        """An expression as SQL."""
        if type(expression) is DatabaseNow:
            return expression.on(connections[self.alias].vendor)
        query = self.attempts.query
        resolved = expression.resolve_expression(query, allow_joins=False, for_save=True)
        sql, params = query.get_compiler(self.alias).compile(resolved)
        return sql, params

    def reader(self, name: str) -> Callable[[Any], Any] | None:
        """What makes a Python value of the column's raw one; None if it's that already."""
        meta = self.attempts.model._meta
        column = meta.get_field(name).get_col(meta.db_table)
        connection = connections[self.alias]
        steps = [
            *connection.ops.get_db_converters(column),
            *column.get_db_converters(connection),
        ]
        if not steps:
            return None

        def read(value: Any) -> Any:
            for step in steps:
                value = step(value, column, connection)
            return value

        return read


def _column(field: Field[Any, Any], quote: Callable[[str], str]) -> Column:
    usual = field.get_default() if field.has_default() and not callable(field.default) else None
    # A project's own kind of field may be stored in a form of its own: encrypted, say.
    is_plain = field.get_internal_type() in PLAIN_FIELDS and type(field).__module__ in PLAIN_HOMES
    if field.default is dict:
        usual = {}
    elif usual is not None and not (is_plain and UNLIKE_LITERALS.isdisjoint(str(usual))):
        # A project's own default, whose form in the statement is the field's to know.
        usual = None
    return Column(
        attname=field.attname,
        name=quote(str(field.column)),
        field=field,
        usual=usual,
        literal=_literal(usual),
        is_plain=is_plain,
        has_pre_save=type(field).pre_save is not Field.pre_save or field.has_db_default(),
    )


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    return "'{}'" if value == {} else "'" + str(value).replace("'", "''") + "'"
