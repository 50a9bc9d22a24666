"""Bounds of columns: the database refuses a value that a worker could not read or count up.

One malformed value would otherwise fail the statement that claims, or looks at, all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, CheckConstraint, F, Func, Model, Q
from django.db.models.sql.compiler import SQLCompiler

MOST_COUNTED: Final = 2**31 - 2
"""Of an integer column; one more still fits it."""

MOST_CRASHES: Final = 2**15 - 2
MOST_CLAIMS: Final = 2**62
MOST_TOKENS: Final = 2.0**53
MAX_METADATA_BYTES: Final = 16_384

_X: Final = "%(expressions)s"
_SECONDS: Final = f"substr({_X},1,19)"
"""Of a moment as SQLite has it: a text, of which these characters are the whole seconds. Without a
space after a comma, where Django's introspection of a table divides its columns."""


class _Condition(Func):
    """A condition on one column, in the words of each database; a null fulfils it, or is unknown.

    `templates`: by vendor; "" is any other one.
    """

    output_field = BooleanField()
    templates: Mapping[str, str]

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        template = self.templates.get(connection.vendor) or self.templates[""]
        context |= self.extra
        [column] = self.source_expressions
        sql, params = compiler.compile(column)
        times = template.count(_X)
        return template % {**context, "expressions": sql}, tuple(params) * times


class IsMoment(_Condition):
    """True for a finite moment of the years 1 to 9999, which Python can read."""

    templates = {
        "postgresql": f"{_X} BETWEEN '0001-01-01 00:00+00' AND '9999-12-31 23:59:59.999999+00'",
        # The second part refuses '2026-00-00'.
        "mysql": (
            f"({_X} IS NULL OR ({_X} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'"
            f" AND TO_DAYS({_X}) IS NOT NULL))"
        ),
        # Of '2026-02-31' a modifier makes another day.
        "": (
            f"({_X} IS NULL OR (datetime({_SECONDS},'+0 days') IS {_SECONDS} AND substr({_X},1,4) > '0000'"
            f" AND length({_X}) <= 26 AND substr({_X},20) NOT GLOB '*[^0-9.]*'))"
        ),
    }


class InRange(_Condition):
    """True for a number from `low` to `high`, both included."""

    templates = {"": f"{_X} BETWEEN %(low)s AND %(high)s"}

    def __init__(self, column: Any, low: float, high: float) -> None:
        super().__init__(column, low=low, high=high)


class IsDuration(_Condition):
    """True for seconds as enqueueing takes them: more than 0, less than 2³¹."""

    templates = {"": f"({_X} > 0 AND {_X} < 2147483648)"}


class IsId(_Condition):
    """True for 32 hexadecimal digits, as Django writes ids where there is no type for them."""

    templates = {
        "mysql": f"({_X} IS NULL OR {_X} REGEXP '^[0-9a-f]{{32}}$')",
        "": (
            f"({_X} IS NULL OR (typeof({_X}) = 'text' AND length({_X}) = 32"
            f" AND {_X} NOT GLOB '*[^0-9a-f]*'))"
        ),
    }


class Fits(_Condition):
    """True for JSON of at most `most` bytes as text."""

    templates = {
        "postgresql": f"octet_length(({_X})::text) <= %(most)s",
        "mysql": f"OCTET_LENGTH({_X}) <= %(most)s",
        "": f"length(CAST({_X} AS BLOB)) <= %(most)s",
    }

    def __init__(self, column: Any, most: int) -> None:
        super().__init__(column, most=most)


class IsMalformed(_Condition):
    """True where a condition of this module is not fulfilled."""

    templates = {"": f"NOT ({_X})"}


class Bound(NamedTuple):
    """What one column has to fulfil, and the value that stands in for one that doesn't.

    `instead`: None for a null, which is for columns that take one; NOW for the present moment.
    """

    column: str
    condition: _Condition
    instead: Any = None


NOW: Final = object()


class Bounds(CheckConstraint):
    """A check of several columns of one table.

    `moments`, `durations` (seconds), `numbers` (to the least and the greatest) and `sizes` of JSON
    (to the most bytes) name the columns.
    """

    def __init__(
        self,
        *,
        name: str,
        moments: Sequence[str] = (),
        durations: Sequence[str] = (),
        numbers: Mapping[str, tuple[float, float]] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self.given: dict[str, Any] = {
            "moments": tuple(moments),
            "durations": tuple(durations),
            # As a migration has them, whatever the order in which they are named.
            "numbers": dict(sorted((numbers or {}).items())),
            "sizes": dict(sorted((sizes or {}).items())),
        }
        super().__init__(name=name, condition=Q(*(bound.condition for bound in self.bounds())))

    def bounds(self) -> Iterator[Bound]:
        """What each of the columns has to fulfil."""
        given = self.given
        for name in given["moments"]:
            yield Bound(name, IsMoment(F(name)), NOW)
        for name in given["durations"]:
            yield Bound(name, IsDuration(F(name)))
        for name, (low, high) in given["numbers"].items():
            yield Bound(name, InRange(F(name), low, high), low)
        for name, most in given["sizes"].items():
            yield Bound(name, Fits(F(name), most), {})

    def holds_on(self, connection: BaseDatabaseWrapper) -> bool:
        """Whether this database has the check."""
        return True

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        given = {name: value for name, value in self.given.items() if value}
        return path, (), {"name": self.name, **given}


class HexIds(Bounds):
    """The check of the columns of ids, on databases that have no type for them."""

    def __init__(self, *, name: str, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        super().__init__(name=name)

    def bounds(self) -> Iterator[Bound]:
        for name in self.ids:
            yield Bound(name, IsId(F(name)))

    def holds_on(self, connection: BaseDatabaseWrapper) -> bool:
        return not connection.features.has_native_uuid_field

    def constraint_sql(self, model: type[Model] | None, schema_editor: Any) -> Any:
        if self.holds_on(schema_editor.connection):
            return super().constraint_sql(model, schema_editor)
        return None

    def create_sql(self, model: type[Model] | None, schema_editor: Any) -> Any:
        if self.holds_on(schema_editor.connection):
            return super().create_sql(model, schema_editor)
        return None

    def remove_sql(self, model: type[Model] | None, schema_editor: Any) -> Any:
        if self.holds_on(schema_editor.connection):
            return super().remove_sql(model, schema_editor)
        return None

    def validate(self, *args: Any, **options: Any) -> None:
        """Ids are made by Django, which writes nothing else."""

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "ids": self.ids}


def bounds_of(model: type[Model], connection: BaseDatabaseWrapper) -> list[Bound]:
    """What the columns of a table have to fulfil on this database."""
    return [
        bound
        for constraint in model._meta.constraints
        if isinstance(constraint, Bounds) and constraint.holds_on(connection)
        for bound in constraint.bounds()
    ]
