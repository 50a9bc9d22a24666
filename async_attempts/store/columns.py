"""Between the columns of the attempt model and the values in a statement, without an ORM query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import is_not, itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connections
from django.db.models import Expression, Field

from ..models import AbstractAttempt, AttemptQuerySet, DatabaseNow
from ..models.fields import StatusField
from ..models.row_template import has_pre_save

PLAIN_TYPES: Final = {
    "CharField": str,
    "TextField": str,
    "SmallIntegerField": int,
    "PositiveIntegerField": int,
    "PositiveSmallIntegerField": int,
    "IntegerField": int,
    "BigIntegerField": int,
    "BooleanField": bool,
    "FloatField": float,
}
"""The only type whose values the driver stores as Django does, by the kind of field."""

PLAIN_HOMES: Final = frozenset({Field.__module__, StatusField.__module__})

UNLIKE_LITERALS: Final = frozenset("%\\\0")
"""Characters that stand for a parameter (drivers), begin an escape (MySQL), or fit no text."""

_NOTHING: Final = object()

LITERAL_COLUMNS: Final = frozenset("queue priority target method_name keep_result".split())
"""Columns with few values, which are written as literals too; a statement is kept for each."""

MOST: Final = 1024

Compiled = tuple[str, Sequence[Any]]
Placeholders = tuple[tuple[int, str], ...]
"""The placeholders of the values that aren't usual, by the column's number in `all`."""


class Column(NamedTuple):
    """One column of the INSERT. Its usual value is written as a literal: fewer parameters."""

    attname: str
    name: str
    field: Field[Any, Any]
    usual: Any
    literal: str
    plain_types: frozenset[type]
    """The types of values that the driver takes as they are."""
    has_pre_save: bool
    passed_on: frozenset[type]
    """The ones of them that are never written as literals."""
    literals: dict[Any, str] | None
    """Other values as literals, if they may be written as such."""


class Columns:
    """All columns of the attempt model, on one database."""

    def __init__(self, attempts: AttemptQuerySet[Any], alias: str) -> None:
        self.attempts = attempts
        self.alias = alias
        meta = attempts.model._meta
        connection = connections[alias]
        self.table = str(connection.ops.quote_name(meta.db_table))
        self.all = [
            _column(field, connection) for field in meta.concrete_fields if not field.generated
        ]
        now, params = DatabaseNow().on(connection.vendor)
        self._now = None if params else now
        self._usual = [column.usual for column in self.all]
        self._numbers = range(len(self.all))
        self._read = itemgetter(*(column.attname for column in self.all))
        self._before_saving = [
            (number, column.field) for number, column in enumerate(self.all) if column.has_pre_save
        ]

    @property
    def selected(self) -> list[str]:
        """SQL for what the ORM reads of each column, under the column's name."""
        compiler = self.attempts.query.get_compiler(self.alias)
        quote = connections[self.alias].ops.quote_name
        selected = []
        for field in self.attempts.model._meta.concrete_fields:
            name = quote(str(field.column))
            sql, _ = field.select_format(compiler, name, ())
            selected.append(f"{sql} AS {name}")
        return selected

    def values_of(self, attempt: AbstractAttempt) -> Sequence[Any]:
        """The values to be written, in the order of `all`; some are expressions."""
        if not self._before_saving:
            values: Sequence[Any] = self._read(attempt.__dict__)
            return values
        prepared = {n: f.pre_save(attempt, add=True) for n, f in self._before_saving}
        row = attempt.__dict__
        return [
            prepared[number] if number in prepared else row[column.attname]
            for number, column in enumerate(self.all)
        ]

    def placeholders_of(self, values: Sequence[Any]) -> tuple[Placeholders, list[Any]]:
        """Return the SQL of those of `values` that aren't usual, and the parameters."""
        placeholders = []
        params: list[Any] = []
        for number in compress(self._numbers, map(is_not, values, self._usual)):
            column, value = self.all[number], values[number]
            if type(value) in column.passed_on:
                placeholder = "%s"
                params.append(value)
            elif column.literals is not None and value in column.literals:
                placeholder = column.literals[value]
            elif self._now is not None and type(value) is DatabaseNow:
                placeholder = self._now
            else:
                placeholder, given = self.placeholder_of(column, value)
                params += given
            if placeholder is not column.literal:
                placeholders.append((number, placeholder))
        return tuple(placeholders), params

    def placeholder_of(self, column: Column, value: Any) -> Compiled:
        """Return the SQL of `value` in the statement, and its parameters."""
        if value is column.usual or value == {} == column.usual:
            return column.literal, ()
        if value is None:
            return "NULL", ()
        if column.literals is not None and (literal := _plain_literal(value)) is not None:
            if len(column.literals) >= MOST:
                column.literals.clear()
            column.literals[value] = literal
            return literal, ()
        if hasattr(value, "resolve_expression"):
            return self.compiled(value)
        return "%s", (self.prepared(column, value),)

    def prepared(self, column: Column, value: Any) -> Any:
        """`value` as the driver takes it."""
        if type(value) in column.plain_types:
            return value
        return column.field.get_db_prep_save(value, connections[self.alias])

    def compiled(self, expression: Expression) -> Compiled:
        """An expression as SQL."""
        if type(expression) is DatabaseNow:
            return expression.on(connections[self.alias].vendor)
        query = self.attempts.query
        resolved = expression.resolve_expression(query, allow_joins=False, for_save=True)
        sql, params = query.get_compiler(self.alias).compile(resolved)
        return sql, params

    def reader(self, name: str) -> Callable[[Any], Any] | None:
        """Return the conversion of the column's raw value to a Python one; None: there is none."""
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


def _column(field: Field[Any, Any], connection: Any) -> Column:
    usual = field.get_default() if field.has_default() and not callable(field.default) else None
    types = _plain_types(field, connection)
    if field.default is dict:
        usual = {}
    elif usual is not None and not (types and UNLIKE_LITERALS.isdisjoint(str(usual))):
        # A project's own default, whose form in the statement is the field's to know.
        usual = None
    is_literal = bool(types) and field.attname in LITERAL_COLUMNS
    return Column(
        attname=field.attname,
        name=connection.ops.quote_name(str(field.column)),
        field=field,
        # A value that the database fills in is an expression; nothing else may stand for it.
        usual=_NOTHING if field.has_db_default() else usual,
        # A default may be given in another type than the column's: 0 for False.
        literal=_literal(field.get_prep_value(usual) if types else usual),
        plain_types=types,
        has_pre_save=has_pre_save(field),
        passed_on=types if usual is None and not is_literal else frozenset(),
        literals={} if is_literal else None,
    )


def _plain_types(field: Field[Any, Any], connection: Any) -> frozenset[type]:
    # A project's own kind of field may be stored in a form of its own: encrypted, say.
    if type(field).__module__ not in PLAIN_HOMES:
        return frozenset()
    kind = field.get_internal_type()
    if kind == "UUIDField" and connection.features.has_native_uuid_field:
        return frozenset({UUID})
    if kind == "BinaryField":
        return frozenset({bytes})
    return frozenset({PLAIN_TYPES[kind]}) if kind in PLAIN_TYPES else frozenset()


def _plain_literal(value: Any) -> str | None:
    if type(value) is str:
        return _literal(value) if UNLIKE_LITERALS.isdisjoint(value) else None
    return _literal(value) if type(value) in (int, bool) else None


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    return "'{}'" if value == {} else "'" + str(value).replace("'", "''") + "'"
