"""Every move of the lifecycle, and the only place where one is written.

One `Store` for each database; the base is portable, a dialect overrides what it can say better.
All of them pass one behaviour suite.
"""

from __future__ import annotations

from functools import cache

from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import connections

from ..conf import MODEL_SETTING
from .base import Store
from .claims import Claim
from .finishing import Result
from .rescuing import Rescue

__all__ = ["Claim", "Rescue", "Result", "Store", "store_for"]


def store_for(alias: str) -> Store:
    """The store of the database `alias`.

    Raises django.db.utils.ConnectionDoesNotExist for an alias that isn't in DATABASES, and
    ImproperlyConfigured for a kind of database that the package doesn't support.
    """
    return _store(alias)


@cache
def _store(alias: str) -> Store:
    vendor = connections[alias].vendor
    if vendor == "postgresql":
        from .postgresql import PostgreSQLStore as Dialect
    elif vendor == "mysql":
        from .mysql import MySQLStore as Dialect  # type: ignore[assignment]
    elif vendor == "sqlite":
        from .sqlite import SQLiteStore as Dialect  # type: ignore[assignment]
    else:
        raise ImproperlyConfigured(
            f"async_attempts: the database {alias!r} is {vendor}; supported are PostgreSQL, "
            "MariaDB, MySQL and SQLite."
        )
    return Dialect(alias)


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting in ("DATABASES", MODEL_SETTING):
        _store.cache_clear()


setting_changed.connect(_forget)
