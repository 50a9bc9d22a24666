"""Django's router for a run: callers write as they would with one database, to the measured one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class Router:
    """Everything goes to the database that is being measured."""

    measured: ClassVar[str | None] = None

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return self.measured

    db_for_read = db_for_write


@contextmanager
def routed_to(alias: str) -> Iterator[None]:
    """Let models and `enqueue` use the database `alias`."""
    Router.measured = alias
    try:
        yield
    finally:
        Router.measured = None
