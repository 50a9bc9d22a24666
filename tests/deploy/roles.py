"""The database roles of `docs/permissions.md`, made by the SQL of that page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from django.db import connections

from tests.examples.documented import ROOT

PAGE: Final = ROOT / "docs" / "permissions.md"
SQL: Final = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS: Final = ("web", "worker", "reporter")


class Roles:
    """Those of one database. Roles belong to the server, so their names tell the database."""

    def __init__(self, database: str) -> None:
        self.alias = database
        self._prefix = f"{connections[database].settings_dict['NAME']}_"

    def name(self, kind: str) -> str:
        """What the page calls `shop_…`."""
        return f"{self._prefix}{kind}"

    def create(self) -> None:
        """Execute the page's SQL."""
        text = "".join(SQL.findall(PAGE.read_text()))
        self.execute(re.sub(r"\bshop_", self._prefix, text))

    def drop(self) -> None:
        """Take back what the page's SQL has made."""
        for kind in KINDS:
            self.execute(f'DROP OWNED BY "{self.name(kind)}"; DROP ROLE "{self.name(kind)}"')

    def execute(self, sql: str) -> None:
        """Execute it by this thread's connection."""
        with connections[self.alias].cursor() as cursor:
            cursor.execute(sql)

    @contextmanager
    def acting_as(self, kind: str) -> Iterator[None]:
        """What this thread asks the database for, it asks as this role."""
        self.execute(f'SET ROLE "{self.name(kind)}"')
        try:
            yield
            with connections[self.alias].cursor() as cursor:
                cursor.execute("SELECT current_user")
                # Else another connection was taken meanwhile, of the tests' own role.
                assert cursor.fetchone() == (self.name(kind),)
        finally:
            self.execute("RESET ROLE")


@pytest.fixture
def roles(database: str) -> Iterator[Roles]:
    """The roles of this test's database, with the rights that the page gives them."""
    roles = Roles(database)
    roles.create()
    yield roles
    roles.drop()
