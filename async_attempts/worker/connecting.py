"""Connections of the worker's own threads: outside of any pool, and with an end to patience."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

from django.db import connections

CONNECT_TIMEOUT: Final = 10
"""Seconds."""

SILENCE: Final = 15
"""Seconds after which a server that doesn't answer at all, not even as a machine, is given up."""

PATIENT: Final[dict[str, dict[str, Any]]] = {
    "postgresql": {
        "connect_timeout": CONNECT_TIMEOUT,
        "tcp_user_timeout": SILENCE * 1000,
        "keepalives": 1,
        "keepalives_idle": SILENCE // 3,
        "keepalives_interval": SILENCE // 3,
        "keepalives_count": 2,
    },
    "mysql": {"connect_timeout": CONNECT_TIMEOUT},
}
"""`OPTIONS` for those that the project doesn't set."""


def use_own_connection(alias: str, **options: Any) -> None:
    """Let this thread have a connection of its own to `alias` from now on.

    `options`: more of the database's `OPTIONS`, before the project's.
    """
    connection = connections[alias]
    settings = deepcopy(connection.settings_dict)
    settings["OPTIONS"].pop("pool", None)
    settings["OPTIONS"] = PATIENT.get(connection.vendor, {}) | settings["OPTIONS"] | options
    settings["CONN_MAX_AGE"] = None
    connection.close()
    connection.settings_dict = settings


def close_all_before_fork() -> None:
    """Leave no connection, and no pool with its threads, to a forked child."""
    connection: Any
    for connection in connections.all(initialized_only=True):
        connection.close()
        if connection.alias in getattr(connection, "_connection_pools", ()):
            connection.close_pool()
