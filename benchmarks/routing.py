"""Django's router for a run: callers write as they would with one database, to the measured one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from .environment import MEASURED
from .peers.settings import ALIAS, LABELS


class Router:
    """Everything goes to the database that is being measured; the peers have tables on one."""

    measured: ClassVar[str | None] = os.environ.get(MEASURED)

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return self.measured

    db_for_read = db_for_write

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return db == ALIAS if app_label in LABELS else None


@contextmanager
def routed_to(alias: str) -> Iterator[None]:
    """Let models and `enqueue` use the database `alias`."""
    Router.measured = alias
    try:
        yield
    finally:
        Router.measured = None
