"""The bytes of a value, measured by the database, and what is fetched in place of a large one.

A value of hundreds of megabytes ends the process that fetches it. Its size can be had without it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Any, Final

from django.db.models import Func, IntegerField
from django.db.models.sql.compiler import SQLCompiler

from ..conf import SETTING
from ..exceptions import InvalidArguments
from ..payload.limits import most_args_bytes

_OLD_SQLITE: Final = (
    "CASE typeof({0}) WHEN 'blob' THEN length({0}) ELSE length(CAST({0} AS BLOB)) END"
)
"""SQL for SQLite without `octet_length`: a text has to be loaded, in C, since `length` counts its
characters before the first NUL. Any column can hold text or bytes."""

OCTETS: Final[Mapping[str, str]] = {
    "postgresql": "octet_length({0})",
    "mysql": "octet_length({0})",
    "sqlite": "octet_length({0})" if sqlite3.sqlite_version_info >= (3, 43) else _OLD_SQLITE,
}
"""SQL for the bytes of a value, by vendor."""

_SAYS: Final = " bytes: too large to show"
_TEXT: Final[Mapping[str, str]] = {
    "postgresql": f"to_char({{0}}, 'FM999,999,999,999') || '{_SAYS}'",
    # ASCII, so that it goes with a column of any character set.
    "mysql": f"convert(concat(format({{0}}, 0), '{_SAYS}') USING ascii)",
    # A cursor takes a single % for a parameter.
    "sqlite": f"printf('%%,d', {{0}}) || '{_SAYS}'",
}
_AS_BYTES: Final[Mapping[str, str]] = {
    "postgresql": "decode('ff', 'hex') || convert_to({0}, 'UTF8')",
    "mysql": "concat(0xff, CAST({0} AS BINARY))",
    "sqlite": "CAST(x'ff' || {0} AS BLOB)",
}
_AS_JSON: Final[Mapping[str, str]] = {
    "postgresql": "to_jsonb({0})",
    "mysql": "json_quote({0})",
    "sqlite": "json_quote({0})",
}
_AS: Final[Mapping[str, Mapping[str, str]]] = {
    "TextField": {},
    "BinaryField": _AS_BYTES,
    "JSONField": _AS_JSON,
}
_STAND_IN: Final = re.compile(rb"\xff([0-9,]{1,19})" + re.escape(_SAYS.encode()))


def octets(vendor: str, value: str) -> str:
    """SQL for the bytes of the SQL expression `value`."""
    return OCTETS[vendor].format(value)


def json_text(vendor: str, value: str) -> str:
    """SQL for the JSON `value` as text."""
    return f"({value})::text" if vendor == "postgresql" else value


def as_bytes(vendor: str, value: str) -> str:
    """SQL for the value of a column of bytes; any column of SQLite can hold a text as well."""
    return f"CAST({value} AS BLOB)" if vendor == "sqlite" else value


def fetched(vendor: str, kind: str, value: str, most: int) -> str:
    """SQL for the value of a column, or what stands in for one of more than `most` bytes.

    `kind`: of the field, as `Field.get_internal_type` names it. The stand-in says how large the
    value is: as a text, as a text in JSON, or as bytes that begin with 255.
    """
    size = octets(vendor, json_text(vendor, value) if kind == "JSONField" else value)
    text = _TEXT[vendor].format(size)
    stand_in = _AS[kind].get(vendor, "{0}").format(text)
    found = as_bytes(vendor, value) if kind == "BinaryField" else value
    return f"CASE WHEN {size} > {most} THEN {stand_in} ELSE {found} END"


def size_of_unfetched(stored: Any) -> int | None:
    """The bytes of the value that `stored`, of a binary column, stands in for; None for others."""
    if not stored or len(stored) > len(_SAYS) + 20:
        return None
    found = _STAND_IN.fullmatch(bytes(stored))
    return None if found is None else int(found[1].replace(b",", b""))


def too_large_to_show(size: int) -> str:
    """The text in place of a value of `size` bytes."""
    return f"{size:,}{_SAYS}"


def require_fetched(stored: Any, owner: str, remedy: str) -> None:
    """Raise InvalidArguments if `stored` stands in for arguments that were too large."""
    if (size := size_of_unfetched(stored)) is not None:
        raise InvalidArguments(
            f"The stored arguments of {owner} have {size:,} bytes, more than "
            f"{SETTING}['MAX_ARGS_BYTES'] allows ({most_args_bytes():,} with the envelope): "
            f"{remedy}"
        )


class Octets(Func):
    """The bytes of a column of bytes or text, for the ORM."""

    arity = 1
    output_field = IntegerField()

    def as_sql(
        self, compiler: SQLCompiler, connection: Any, *args: Any, **context: Any
    ) -> tuple[str, tuple[Any, ...]]:
        [column] = self.source_expressions
        sql, params = compiler.compile(column)
        measured = octets(connection.vendor, sql)
        return measured, tuple(params) * measured.count(sql)
