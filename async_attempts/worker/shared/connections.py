"""Database sessions of the worker's own threads: in no pool, and every wait has a limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final
from weakref import WeakSet

from django.db import connections
from django.db.backends.signals import connection_created

from ...conf import settings

CONNECT_TIMEOUT: Final = 10
"""Seconds."""

SILENCE: Final = 15
"""Seconds after which a server that doesn't answer at all, not even as a machine, is given up."""

LONGEST_STATEMENT: Final = 60
"""Seconds after which a driver that no keepalive tells of a dead server gives a statement up."""

LOCK_TIMEOUT: Final = 2
"""Seconds that a statement waits for somebody else's lock, a third of the lease at most."""

PREPARED_AFTER: Final = 2
"""Executions of one statement."""

PATIENT: Final[dict[str, dict[str, Any]]] = {
    "postgresql": {
        "connect_timeout": CONNECT_TIMEOUT,
        "tcp_user_timeout": SILENCE * 1000,
        "keepalives": 1,
        "keepalives_idle": SILENCE // 3,
        "keepalives_interval": SILENCE // 3,
        "keepalives_count": 2,
    },
    "mysql": {
        "connect_timeout": CONNECT_TIMEOUT,
        "read_timeout": LONGEST_STATEMENT,
        "write_timeout": LONGEST_STATEMENT,
    },
}
"""`OPTIONS` of sessions, unless the project sets them."""

IMPATIENCE: Final = 2
"""Seconds after which probes and renewals of leases give the server up."""

IMPATIENT: Final[dict[str, dict[str, Any]]] = {
    "postgresql": {
        "connect_timeout": IMPATIENCE,
        "tcp_user_timeout": IMPATIENCE * 1_000,
        "keepalives_idle": 1,
        "keepalives_interval": 1,
        "keepalives_count": IMPATIENCE,
    },
    "mysql": {
        "connect_timeout": IMPATIENCE,
        "read_timeout": IMPATIENCE,
        "write_timeout": IMPATIENCE,
    },
    "sqlite": {"timeout": IMPATIENCE},
}
"""`OPTIONS` of sessions that let a question end soon."""

KEEPALIVES: Final[dict[str, object]] = {
    "tcp_keepalives_idle": SILENCE // 3,
    "tcp_keepalives_interval": SILENCE // 3,
    "tcp_keepalives_count": 2,
    "tcp_user_timeout": SILENCE * 1000,
}
"""The same for PostgreSQL's own side, whose defaults take two hours."""

_own: Final[WeakSet[Any]] = WeakSet()
"""The connections of the threads that have one of their own."""


def use_own_connection(alias: str, **options: Any) -> None:
    """Let this thread have a session of its own to `alias` from now on.

    It can neither wait nor be waited for without an end. `options`: more of the database's
    `OPTIONS`, before the project's.
    """
    connection: Any = connections[alias]
    own = deepcopy(connection.settings_dict)
    own["OPTIONS"].pop("pool", None)
    own["OPTIONS"] = PATIENT.get(connection.vendor, {}) | own["OPTIONS"] | options
    own["CONN_MAX_AGE"] = None
    connection.close()
    connection.settings_dict = own
    _own.add(connection)


def _bound_waits(connection: Any, **_: object) -> None:
    """Tell the server of a worker's new session how long it may wait, and be waited for."""
    if connection in _own:
        BOUNDING[connection.vendor](connection)


connection_created.connect(_bound_waits)


def have_server_notice_death() -> None:
    """Ask for it in each session that this process opens from now on, those of targets, too.

    Else the rows that an atomic attempt has locked would stay locked for hours after its host died.
    """
    connection_created.connect(_keep_alive)


def _keep_alive(connection: Any, **_: object) -> None:
    is_pooled = connection.settings_dict["OPTIONS"].get("pool")
    if connection.vendor != "postgresql" or connection in _own or is_pooled:
        return
    if connection.autocommit:
        with connection.wrap_database_errors:
            connection.connection.execute(_setting(KEEPALIVES))


def _bound_postgresql(connection: Any) -> None:
    session = connection.connection
    with connection.wrap_database_errors:
        (pid,) = session.execute("SELECT pg_backend_pid()").fetchone()
        if pid != session.info.backend_pid:
            # A pooler's session serves others, too, and has an id that its clients aren't told.
            return
        lease = settings().LEASE
        chosen = KEEPALIVES | {
            "lock_timeout": _milliseconds(_lock_timeout(lease)),
            "idle_in_transaction_session_timeout": _milliseconds(lease / 2),
            # The generic plan of a small table survives its growth, until somebody analyses it.
            "plan_cache_mode": "force_custom_plan",
        }
        session.execute(_setting(chosen))
    session.prepare_threshold = PREPARED_AFTER


def _bound_mysql(connection: Any) -> None:
    lease = settings().LEASE
    lock, idle = math.ceil(_lock_timeout(lease)), math.ceil(lease / 2)
    chosen = {"innodb_lock_wait_timeout": lock, "lock_wait_timeout": lock}
    if connection.mysql_is_mariadb:
        chosen["idle_transaction_timeout"] = idle
    else:
        # MySQL ends what is idle, in a transaction or not; a loop is never idle for so long.
        chosen["wait_timeout"] = max(idle, SILENCE)
    with connection.cursor() as cursor:
        cursor.execute("SET " + ", ".join(f"SESSION {name} = {n}" for name, n in chosen.items()))


def _bound_sqlite(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {_milliseconds(_lock_timeout(settings().LEASE))}")


BOUNDING: Final[dict[str, Callable[[Any], None]]] = {
    "postgresql": _bound_postgresql,
    "mysql": _bound_mysql,
    "sqlite": _bound_sqlite,
}


def _setting(chosen: Mapping[str, object]) -> str:
    return "; ".join(f"SET {name} = {value}" for name, value in chosen.items())


def _lock_timeout(lease: float) -> float:
    return min(LOCK_TIMEOUT, lease / 3)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
