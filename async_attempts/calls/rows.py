"""The rows of calls: made in memory, and written in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from django.db.models.signals import post_save, pre_save

from ..exceptions import InvalidOption
from ..models import get_attempt_model
from ..models.row_template import RowTemplate, template_of
from ..models.saving import announce, by_database, database_of, insert_alike
from ..payload import Arguments
from ..store import store_for

if TYPE_CHECKING:
    from ..models import Attempt


def new_row(target: Any, arguments: Arguments, **columns: Any) -> Attempt:
    """Return a row that isn't written yet."""
    attempt = get_attempt_model()(target=target, **columns)
    attempt._plain = arguments
    return cast("Attempt", attempt)


def write_plain(target: Any, arguments: Arguments, database: str | None) -> Attempt:
    """Write a row that has no options, but perhaps a database."""
    template = template_of(get_attempt_model(), target)
    if template is None:
        row = new_row(target, arguments)
        row._state.db = database
        return write_one(row)
    made: Attempt = insert_alike(template, arguments, database)
    return made


def write_one(attempt: Attempt) -> Attempt:
    """Write this new row; return it, or the row that has its token."""
    alias = database_of(attempt)
    announce(pre_save, attempt, alias)
    found = store_for(alias).attempts.insert_or_get(attempt)
    if found.created:
        announce(post_save, found, alias, created=True)
    return cast("Attempt", found)


def write(attempts: list[Attempt], template: RowTemplate | None = None) -> list[Attempt]:
    """Write all of these new rows or none; return them, or the rows that have their tokens.

    `template`: theirs, if all have the same one.
    """
    for alias, indexes in by_database(attempts, are_alike=template is not None).items():
        some = [attempts[index] for index in indexes]
        if template is not None:
            store_for(alias).attempts.insert_alike(some, template)
            continue
        found = store_for(alias).attempts.insert_or_get_many(some)
        for index, row in zip(indexes, found, strict=True):
            attempts[index] = cast("Attempt", row)
    return attempts


def put_on_one_database(rows: Sequence[Attempt]) -> None:
    """Give all rows the database that one names, else the router's. Raises InvalidOption."""
    given = {row._state.db for row in rows if row._state.db is not None}
    if len(given) > 1:
        raise InvalidOption(
            f"database: the calls of a flow must be on one, not on {', '.join(sorted(given))}."
        )
    alias = given.pop() if given else database_of(rows[0])
    for row in rows:
        row._state.db = alias
