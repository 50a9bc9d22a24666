"""The transaction of a `TestCase`: what an execution breaks in it must not break the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import Error, connections, transaction

from .sessions import is_in_testcase


@contextmanager
def saved_testcase() -> Iterator[None]:
    """In a `TestCase`, let a database error undo no more than what is done within this block.

    Outside of tests statements commit one by one; so what was written stays, unless an error made
    the transaction unusable.
    """
    saved = [_savepoint(c) for c in connections.all(initialized_only=True) if is_in_testcase(c)]
    try:
        yield
    finally:
        for connection, block in reversed(saved):
            _end(connection, block)


def _savepoint(connection: Any) -> tuple[Any, Any]:
    block: Any = transaction.atomic(connection.alias)
    # Code within may open durable blocks, as it may outside of tests.
    block._from_testcase = True
    block.__enter__()
    return connection, block


def _end(connection: Any, block: Any) -> None:
    # Where a savepoint can't be released, Django rolls it back.
    with suppress(Error):
        while connection.atomic_blocks[-1] is not block:
            # The target left it open.
            connection.needs_rollback = True
            connection.atomic_blocks[-1].__exit__(None, None, None)
        block.__exit__(None, None, None)
