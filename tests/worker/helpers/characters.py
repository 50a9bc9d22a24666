"""A database that can't store every character."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from django.db import connections

from async_attempts import Attempt


@pytest.fixture
def few_characters(database) -> Iterator[None]:
    """The table's character set is an old one, as where a database was made long ago."""
    table = connections[database].ops.quote_name(Attempt._meta.db_table)
    convert = f"ALTER TABLE {table} CONVERT TO CHARACTER SET"
    with connections[database].cursor() as cursor:
        cursor.execute(f"SHOW CREATE TABLE {table}")
        (before,) = re.finditer(r"CHARSET=(\w+) COLLATE=(\w+)", cursor.fetchone()[1])
        cursor.execute(f"{convert} utf8mb3")
        yield
        Attempt.objects.using(database).delete()
        cursor.execute(f"{convert} {before[1]} COLLATE {before[2]}")
