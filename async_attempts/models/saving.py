"""Saving a row: to which database, which columns may change, and the checks before that.

A stale copy of a row can neither reopen an attempt nor change what it promises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import cache
from operator import itemgetter
from typing import Any, Final

from django.db import router
from django.db.models import Model
from django.db.models.signals import post_save, pre_save

from ..conf import settings
from ..exceptions import DuplicateAttempt, InvalidOption, InvalidTransition
from ..ids import uuid7
from ..payload import Arguments
from ..values import flag
from . import ports
from .fields import CHOSEN, PROMISE, STATE, marked
from .validation import as_seconds, check_metadata, check_moment, check_number

MOMENTS: Final = ("scheduled_at", "expires_at")
"""The moments that a caller may choose, also as seconds from now."""


def database_of(row: Model) -> str:
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


def _was_read(row: Model) -> bool:
    """True for a row that a query made; one that was enqueued or found by its token isn't that."""
    return "_loaded" in row.__dict__ and "created" not in row.__dict__


def insert(row: Any, using: str | None) -> None:
    """Enqueue a new row. Raises DuplicateAttempt for a token that is taken."""
    if using is not None:
        row._state.db = using
    alias = database_of(row)
    announce(pre_save, row, alias)
    if not ports.store_for(alias).attempts.insert(row):
        raise DuplicateAttempt(
            f"{row}: an attempt with the idempotence token {row.idempotence_token!r} "
            "exists; enqueue() returns it instead of raising."
        )
    announce(post_save, row, alias, created=row.created)


def insert_alike(template: Any, arguments: Arguments, using: str | None) -> Any:
    """Enqueue a new row of this `RowTemplate`, and return it."""
    row = template.row(uuid7(), arguments)
    row._state.db = using
    alias = database_of(row)
    ports.store_for(alias).attempts.insert_one_alike(row, template)
    announce(post_save, row, alias, created=True)
    return row


def announce(signal: Any, row: Model, using: str, **kwargs: Any) -> None:
    """Send one of Django's save signals, if somebody listens."""
    if signal.receivers and signal.has_listeners(type(row)):
        signal.send(
            sender=type(row), instance=row, raw=False, using=using, update_fields=None, **kwargs
        )


def remember(row: Model, names: Iterable[str] | None = None) -> None:
    """Take the columns, all or those named, as what the database holds."""
    here = row.__dict__
    if names is None:
        here["_loaded"] = held_columns(row)
        return
    columns = _columns(type(row), names)
    here["_loaded"] = _remembered(row) | {c: here[c] for c in columns if c in here}


def held_columns(row: Model) -> dict[str, Any]:
    """Return the columns that aren't deferred, and nothing of what else is in memory."""
    here = row.__dict__
    return {name: here[name] for name in _names(type(row)) if name in here}


@cache
def _names(model: type[Model]) -> tuple[str, ...]:
    return tuple(field.attname for field in model._meta.concrete_fields)


def _remembered(row: Model) -> dict[str, Any]:
    loaded: Any = row.__dict__.get("_loaded", {})
    if isinstance(loaded, tuple):
        columns, key, args = loaded
        return {**columns, "id": key, "args": args}
    found: dict[str, Any] = loaded
    return found


def refuse_given_state(row: Model) -> None:
    """Raise InvalidOption if a new row was given state that only the lifecycle's moves give."""
    names, read, beginnings = _beginning(type(row))
    given = read(row.__dict__)
    if given == beginnings:
        return
    for name, value, beginning in zip(names, given, beginnings, strict=True):
        if value != beginning and not hasattr(value, "resolve_expression"):
            raise InvalidOption(f"{name}: state can't be given; it begins as {beginning!r}.")


@cache
def _beginning(
    model: type[Model],
) -> tuple[list[str], Callable[[Any], tuple[Any, ...]], tuple[Any, ...]]:
    """Return the state of an attempt that was never claimed: names, what reads them, values."""
    names = [name for name in marked(model, STATE) if name not in marked(model, CHOSEN)]
    defaults = {field.attname: field.get_default() for field in model._meta.concrete_fields}
    return names, itemgetter(*names), tuple(defaults[name] for name in names)


def refuse_changes(row: Any) -> None:
    """Raise InvalidOption for a changed promise, InvalidTransition for changed state."""
    model: type[Model] = type(row)
    loaded, promise = _remembered(row), frozenset(marked(model, PROMISE))
    guarded, here = marked(model, PROMISE | STATE), row.__dict__
    changed = {n for n in guarded if n in here and not (n in loaded and loaded[n] == here[n])}
    if promised := sorted((changed & promise) | ({"method_args"} & row._replaced)):
        raise InvalidOption(
            f"{', '.join(promised)}: what an attempt promises can't change; "
            "expire this one and enqueue another."
        )
    if changed:
        raise InvalidTransition(
            f"{', '.join(sorted(changed))}: state can't be saved; "
            "use expire(), fail(), retry() or request_cancel()."
        )


def columns_to_write(row: Model, update_fields: Iterable[str] | None) -> list[str]:
    """Return those of the columns, all or those named, that may change and aren't deferred."""
    model = type(row)
    asked = _columns(model, update_fields).difference(marked(model, PROMISE | STATE))
    return sorted(column for column in asked if column in row.__dict__)


def _columns(model: type[Model], names: Iterable[str] | None) -> set[str]:
    """Return the columns with these names, by default all; "subject" stands for its two."""
    columns = {n: f.attname for f in model._meta.concrete_fields for n in (f.name, f.attname)}
    if names is None:
        return set(columns.values())
    asked = set(names)
    if "subject" in asked:
        asked = asked - {"subject"} | {"subject_type", "subject_id"}
    if unknown := asked - columns.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: no such column.")
    return {columns[name] for name in asked}


def check_options(row: Any) -> None:
    """Check the columns that the caller may choose. Raises InvalidOption, naming the column."""
    loaded = row.__dict__
    if "queue" in loaded:
        settings().queue(row.queue)
    if "priority" in loaded:
        row.priority = settings().priority(row.priority)
    for name in MOMENTS:
        if (moment := loaded.get(name)) is not None and not (
            row._state.adding and as_seconds(name, moment) is not None
        ):
            check_moment(name, moment)
    if isinstance(timeout := loaded.get("timeout"), timedelta):
        row.timeout = timeout.total_seconds()
    flag("keep_result:", loaded.get("keep_result", False), InvalidOption)
    check_number("timeout", loaded.get("timeout"), "seconds, more than 0")
    check_number("max_attempts", loaded.get("max_attempts"), "1 or more", whole=True)
    if (metadata := loaded.get("metadata")) != {} and "metadata" in loaded:
        check_metadata(metadata)
