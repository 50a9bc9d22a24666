"""What a target may leave behind on database connections, and how the next one is spared it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from django.db import DatabaseError, Error, connections


class BrokenTransaction(DatabaseError):
    """The target's transaction can't be committed, though the target returned."""


@contextmanager
def refuse_swallowed_errors(connection: Any) -> Iterator[None]:
    """Raise BrokenTransaction at the end if a database error outside of a savepoint was swallowed.

    PostgreSQL would refuse to commit; MySQL and SQLite would commit what is left. One rule for all.
    """
    outermost = len(connection.savepoint_ids)
    broken: list[str] = []

    def watch(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        try:
            return execute(sql, params, many, context)
        except DatabaseError as error:
            if len(connection.savepoint_ids) == outermost:
                broken.append(type(error).__name__)
            raise

    with connection.execute_wrapper(watch):
        yield
    if broken:
        raise BrokenTransaction(
            f"The target swallowed {broken[0]}: its transaction is incomplete. Catch database "
            "errors around an inner transaction.atomic()."
        )


def open_blocks() -> dict[str, int]:
    """How many atomic blocks are open on each of this thread's connections."""
    return {c.alias: len(c.atomic_blocks) for c in connections.all(initialized_only=True)}


def refuse_open_blocks(before: Mapping[str, int]) -> None:
    """Raise BrokenTransaction if a block is open that wasn't `before`: it would never commit."""
    for alias, number in open_blocks().items():
        if number > before.get(alias, 0):
            raise BrokenTransaction(f"The target left an atomic block of {alias!r} open.")


def clean_connections(before: Mapping[str, int]) -> None:
    """Leave no broken connection, open block or query log to the next target. Never raises.

    Connections that are whole stay open, whatever their age: no round trip for each attempt.
    """
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()
        allowed = before.get(connection.alias, 0)
        # What can't be mended now shows at its next use, where the worker can sit it out.
        with suppress(Error):
            if len(connection.atomic_blocks) > allowed == 0:
                connection.close()
                connection.connect()
            elif not connection.in_atomic_block and _is_doubtful(connection):
                connection.close_if_unusable_or_obsolete()


def _is_doubtful(connection: Any) -> bool:
    return connection.errors_occurred or (
        connection.connection is not None
        and connection.get_autocommit() != connection.settings_dict["AUTOCOMMIT"]
    )
