"""The database that a row is written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import models, router


def database_of(row: models.Model) -> str:
    """The alias that `row` is written to, and read from where its present state matters.

    The one that was chosen for a new row, or where this object was enqueued; else the choice of
    Django's routers, since a row that was read may come from a replica.
    """
    alias = row._state.db
    if alias is not None and not _was_read(row):
        return alias
    return router.db_for_write(type(row), instance=row)


def by_database(rows: Sequence[Any], *, are_alike: bool) -> dict[str, list[int]]:
    """Return the indexes of `rows` by the alias that each is written to.

    `are_alike`: True if they have one template, and one choice of a database: only a router, which
    may look at their ids and arguments, can tell them apart then.
    """
    if are_alike and not router.routers:
        return {database_of(rows[0]): list(range(len(rows)))}
    found: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        found.setdefault(database_of(row), []).append(index)
    return found


def _was_read(row: models.Model) -> bool:
    """True for a row that a query made; one that was enqueued or found by its token isn't that."""
    return "_loaded" in row.__dict__ and "created" not in row.__dict__
