"""Bounds of columns: the database refuses a value that a worker could not read or count up.

One malformed value would otherwise fail the statement that claims, or looks at, all rows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, CheckConstraint, Func, Model, Q
from django.db.models.sql.compiler import SQLCompiler

MOST_COUNTED: Final = 2**31 - 2
"""The most that an integer column may hold; one more still fits it."""

MOST_CRASHES: Final = 2**15 - 1
MOST_CLAIMS: Final = 2**62
MOST_TOKENS: Final = 2.0**53
MAX_METADATA_BYTES: Final = 16_384
TOKEN_LENGTH: Final = 200
NOTE_LENGTH: Final = 255

_SECONDS: Final = "substr({0},1,19)"
"""The whole seconds of a moment, which SQLite stores as text. Without a space after a comma, where
Django's introspection of a table divides its columns."""

_COLUMN: Final = re.compile(r"\{(\d|all)\}")
_ALL: Final = "all"

Templates = Mapping[str, str]


class Condition(Func):
    """A condition on some columns, in the words of each database; a null in one is no breach.

    `templates`: by vendor, "" is any other one. `{0}` stands for the first column, `{all}` for a
    list of them; a template without `{all}` that has several columns is said of each.

    PostgreSQL reads the parsed checks of a table again for each statement that writes to it, some
    10 µs a kilobyte: hence a comparison of the least and the greatest in place of one for each.
    (A test of a range would be shorter still, and takes a microsecond for each row.)
    """

    output_field = BooleanField()
    templates: ClassVar[Templates] = {}
    of_each = True

    def as_sql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, *args: Any, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        columns = [compiler.compile(column) for column in self.source_expressions]
        template = self.template_for(connection.vendor) % self.extra
        if _ALL in template or not self.of_each:
            return _filled(template, columns)
        said = [_filled(template, [column]) for column in columns]
        params = chain.from_iterable(params for _, params in said)
        return " AND ".join(sql for sql, _ in said), tuple(params)

    def template_for(self, vendor: str) -> str:
        """The condition's SQL on this kind of database."""
        return self.templates.get(vendor) or self.templates[""]


def _filled(
    template: str, columns: Sequence[tuple[str, Sequence[Any]]]
) -> tuple[str, tuple[Any, ...]]:
    params: list[Any] = []

    def fill(found: re.Match[str]) -> str:
        number = found.group(1)
        some = columns if number == _ALL else [columns[int(number)]]
        params.extend(chain.from_iterable(own for _, own in some))
        return ",".join(sql for sql, _ in some)

    return _COLUMN.sub(fill, template), tuple(params)


class AreMoments(Condition):
    """True for finite moments of the years 1 to 9999, which Python can read."""

    templates = MappingProxyType(
        {
            "postgresql": (
                "(LEAST({all}) >= '0001-01-01 00:00+00'"
                " AND GREATEST({all}) < '10000-01-01 00:00+00')"
            ),
            # The second part refuses '2026-00-00'.
            "mysql": (
                "({0} IS NULL OR ({0} BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'"
                " AND TO_DAYS({0}) IS NOT NULL))"
            ),
            # A modifier turns '2026-02-31' into another day.
            "": (
                f"({{0}} IS NULL OR (datetime({_SECONDS},'+0 days') IS {_SECONDS}"
                " AND substr({0},1,4) > '0000' AND length(CAST({0} AS BLOB)) <= 26"
                # In a text it counts the characters before the first NUL.
                " AND length({0}) = length(CAST({0} AS BLOB))"
                " AND substr({0},20) NOT GLOB '*[^0-9.]*'))"
            ),
        }
    )


class AreInRange(Condition):
    """True for numbers from `low` to `high`, both included."""

    templates = MappingProxyType({"": "{0} BETWEEN %(low)s AND %(high)s"})

    def __init__(self, *columns: Any, low: float, high: float) -> None:
        super().__init__(*columns, low=low, high=high)

    def template_for(self, vendor: str) -> str:
        if vendor != "postgresql" or isinstance(self.extra["high"], float):
            return super().template_for(vendor)
        if len(self.source_expressions) == 1:
            return "'[%(low)s,%(high)s]'::int8range @> ({0})::int8"
        return "(LEAST({all}) >= %(low)s AND GREATEST({all}) <= %(high)s)"


class AreDurations(Condition):
    """True for seconds as enqueueing takes them: more than 0, less than 2³¹."""

    templates = MappingProxyType(
        {
            "postgresql": "'(0,2147483648)'::numrange @> ({0})::numeric",
            "": "({0} > 0 AND {0} < 2147483648)",
        }
    )


class AreIds(Condition):
    """True for 32 hexadecimal digits, as Django writes ids where there is no type for them."""

    templates = MappingProxyType(
        {
            "mysql": "({0} IS NULL OR {0} REGEXP '^[0-9a-f]+$' AND length({0}) = 32)",
            "": (
                "({0} IS NULL OR (typeof({0}) = 'text' AND length({0}) = 32"
                " AND length(CAST({0} AS BLOB)) = 32"
                " AND {0} NOT GLOB '*[^0-9a-f]*'))"
            ),
        }
    )


class HaveFormOfMoments(Condition):
    """True for text that SQLite has for moments, and some that names no day, as '2026-02-31'.

    For a check: the exact condition takes longer than all others of an attempt together.
    """

    _DIGIT = "[0-9]"
    templates = MappingProxyType(
        {
            "": (
                f"({{0}} IS NULL OR ({{0}} GLOB '{_DIGIT * 4}-[01]{_DIGIT}-[0-3]{_DIGIT}"
                f" [0-2]{_DIGIT}:[0-5]{_DIGIT}:[0-5]{_DIGIT}*'"
                " AND {0} NOT GLOB '0000*' AND length(CAST({0} AS BLOB)) <= 26))"
            )
        }
    )


class HaveFormOfIds(Condition):
    """True for 32 characters without a capital letter: for a check, as `HaveFormOfMoments`."""

    templates = MappingProxyType(
        {
            "": (
                "({0} IS NULL OR (length({0}) = 32 AND length(CAST({0} AS BLOB)) = 32"
                " AND {0} IS lower({0})))"
            )
        }
    )


class AreSmall(Condition):
    """True for JSON of at most `most` bytes as text."""

    templates = MappingProxyType(
        {
            "postgresql": "octet_length(({0})::text) <= %(most)s",
            "mysql": "OCTET_LENGTH({0}) <= %(most)s",
            "": "length(CAST({0} AS BLOB)) <= %(most)s",
        }
    )

    def __init__(self, *columns: Any, most: int) -> None:
        super().__init__(*columns, most=most)


class HasEndOnlyIfFinal(Condition):
    """True if the moment of the end is set exactly in the three final states.

    Its columns: the status and that moment.
    """

    of_each = False
    templates = MappingProxyType(
        {
            "postgresql": (
                "{0} = ANY(CASE WHEN {1} IS NULL THEN '{pending,scheduled,waiting}'::text[]"
                " ELSE '{expired,failed,succeeded}'::text[] END)"
            ),
            # For each statement SQLite makes an index of a list of three.
            "": (
                "((({0} = 'pending' OR {0} = 'scheduled' OR {0} = 'waiting') AND {1} IS NULL)"
                " OR (({0} = 'expired' OR {0} = 'failed' OR {0} = 'succeeded')"
                " AND {1} IS NOT NULL))"
            ),
        }
    )


class IsHeldOnlyIfDue(Condition):
    """True if no worker holds what is scheduled or waits. Its columns: the status, the worker."""

    of_each = False
    templates = MappingProxyType(
        {
            "postgresql": "({1} IS NULL OR {0} <> ALL('{scheduled,waiting}'))",
            "": "({1} IS NULL OR {0} NOT IN ('scheduled','waiting'))",
        }
    )


class IsMalformed(Condition):
    """True where a condition of this module is not fulfilled."""

    templates = MappingProxyType({"": "NOT ({0})"})


class Bound(NamedTuple):
    """The condition of one column, and the value that replaces one that breaks it.

    `instead`: None for a null, which is for columns that take one; NOW for the present moment.
    """

    column: str
    condition: Condition
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
            # In the order of a migration, whatever the order in which they are named.
            "numbers": dict(sorted((numbers or {}).items())),
            "sizes": dict(sorted((sizes or {}).items())),
        }
        super().__init__(name=name, condition=Q(*self.conditions()))

    def conditions(self) -> Iterator[Condition]:
        """The conditions of the columns: as few as there can be."""
        alike: defaultdict[Any, list[str]] = defaultdict(list)
        for column, condition, _ in self.bounds():
            alike[type(condition), tuple(condition.extra.items())].append(column)
        for (kind, options), columns in alike.items():
            yield kind(*columns, **dict(options))

    def bounds(self) -> Iterator[Bound]:
        """The bound of each column."""
        given = self.given
        for name in given["moments"]:
            yield Bound(name, AreMoments(name), NOW)
        for name in given["durations"]:
            yield Bound(name, AreDurations(name))
        for name, (low, high) in given["numbers"].items():
            yield Bound(name, AreInRange(name, low=low, high=high), low)
        for name, most in given["sizes"].items():
            yield Bound(name, AreSmall(name, most=most), {})

    def holds_on(self, connection: BaseDatabaseWrapper) -> bool:
        """True if this database has the check."""
        return True

    def constraint_sql(self, model: type[Model] | None, schema_editor: Any) -> Any:
        """SQL for a new table: one check, or on SQLite one for each column, all of the same name.

        An UPDATE evaluates all checks, but on SQLite only those of the columns that it sets.
        """
        if not self.holds_on(schema_editor.connection):
            return None
        if schema_editor.connection.vendor != "sqlite":
            return super().constraint_sql(model, schema_editor)
        checks = [
            CheckConstraint(name=self.name, condition=Q(_in_check(bound)))
            for bound in self.bounds()
        ]
        return ", ".join(str(check.constraint_sql(model, schema_editor)) for check in checks)

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        given = {name: value for name, value in self.given.items() if value}
        return path, (), {"name": self.name, **given}


def _in_check(bound: Bound) -> Condition:
    """The condition in SQLite's check: what it takes and the exact one refuses is set aside."""
    if isinstance(bound.condition, AreMoments):
        return HaveFormOfMoments(bound.column)
    if isinstance(bound.condition, AreIds):
        return HaveFormOfIds(bound.column)
    return bound.condition


NOTHING: Final = "SELECT 1"
"""A statement that changes nothing."""


class HexIds(Bounds):
    """The check of the columns of ids, on databases that have no type for them."""

    def __init__(self, *, name: str, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        super().__init__(name=name)

    def bounds(self) -> Iterator[Bound]:
        for name in self.ids:
            yield Bound(name, AreIds(name))

    def holds_on(self, connection: BaseDatabaseWrapper) -> bool:
        return not connection.features.has_native_uuid_field

    def create_sql(self, model: type[Model] | None, schema_editor: Any) -> Any:
        if self.holds_on(schema_editor.connection):
            return super().create_sql(model, schema_editor)
        # Not None: Django executes what it puts off until a table with a `db_default` is made.
        return NOTHING

    def remove_sql(self, model: type[Model] | None, schema_editor: Any) -> Any:
        if self.holds_on(schema_editor.connection):
            return super().remove_sql(model, schema_editor)
        return None

    def validate(self, *args: Any, **options: Any) -> None:
        """Do nothing: Django makes the ids, and writes nothing else."""

    def deconstruct(self) -> tuple[str, Any, dict[str, Any]]:
        path, args, kwargs = super().deconstruct()
        return path, args, {**kwargs, "ids": self.ids}


def bounds_of(model: type[Model], connection: BaseDatabaseWrapper) -> list[Bound]:
    """The bounds of the columns of a table on this database."""
    return [
        bound
        for constraint in model._meta.constraints
        if isinstance(constraint, Bounds) and constraint.holds_on(connection)
        for bound in constraint.bounds()
    ]
