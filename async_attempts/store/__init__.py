"""Every move of the lifecycle, and the only place where one is written.

One `Store` for each database; the base is portable, a dialect overrides what it can say better.
All of them pass one behaviour suite.
"""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from ..conf import MODEL_SETTING, cached
from .base import Store
from .claims import TOO_LATE, Claim, Claims, Unknown
from .expiring import Place
from .finishing import Result, Unrecorded
from .keyless import PutOff
from .limiting import Room
from .looking import Glance
from .progressing import Said
from .pruning import Walk
from .rescuing import Judge, Rescue, Verdict
from .rows import driver_problem
from .scheduling import Ticked
from .tallying import Tallied

__all__ = [
    "TOO_LATE",
    "Claim",
    "Claims",
    "Glance",
    "Judge",
    "Place",
    "PutOff",
    "Rescue",
    "Result",
    "Room",
    "Said",
    "Store",
    "Tallied",
    "Ticked",
    "Unknown",
    "Unrecorded",
    "Verdict",
    "Walk",
    "store_for",
]


@cached("DATABASES", MODEL_SETTING)
def store_for(alias: str) -> Store:
    """The store of the database `alias`.

    Raises django.db.utils.ConnectionDoesNotExist for an alias that isn't in DATABASES, and
    ImproperlyConfigured for a kind of database, or a driver, that the package doesn't support.
    """
    return _dialect(alias)(alias)


def _dialect(alias: str) -> type[Store]:
    vendor = connections[alias].vendor
    if problem := driver_problem(alias, vendor):
        raise ImproperlyConfigured(problem)
    if vendor == "postgresql":
        from .postgresql import PostgreSQLStore

        return PostgreSQLStore
    if vendor == "mysql":
        from .mysql import MySQLStore

        return MySQLStore
    if vendor == "sqlite":
        from .sqlite import SQLiteStore

        return SQLiteStore
    raise ImproperlyConfigured(
        f"async_attempts: the database {alias!r} is {vendor}; supported are PostgreSQL, "
        "MariaDB, MySQL and SQLite."
    )
