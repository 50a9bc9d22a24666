"""The gate before NOTIFY: notifications are sent only while somebody listens for them.

A NOTIFY serialises commits, so it is sent only by need. One advisory key guards it: what makes an
attempt due takes the key shared until its transaction ends, and notifies when it can't; an idle
worker, the sentinel, holds it exclusively while it sleeps. So a transaction that didn't notify ends
before any worker becomes the sentinel, and that one looks once more before it sleeps. PostgreSQL
lets others see a transaction's rows before it lets go of its locks.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from django.db import connections

from ..conf import MODEL_SETTING, SETTING, cached, settings
from ..models import get_attempt_model

LONGEST_CHANNEL: Final = 63

SENTINEL: Final = "sentinel"
BESIDE: Final = "beside"
OPEN: Final = "open"


def channel() -> str:
    """Return the channel of notifications, named by the attempts' table."""
    table = str(get_attempt_model()._meta.db_table)
    if table.isascii() and len(table) <= LONGEST_CHANNEL:
        return table
    return f"async_attempts_{blake2b(table.encode(), digest_size=16).hexdigest()}"


def gate_key() -> int:
    """The advisory key, a signed 64-bit number that stands for the attempts' table."""
    digest = blake2b(channel().encode(), digest_size=8, person=b"attempts gate")
    return int.from_bytes(digest.digest(), signed=True)


def notifies(connection: Any) -> bool:
    """Return True if what makes an attempt due on that database passes the gate."""
    return connection.vendor == "postgresql" and settings().NOTIFY


def passing_gate(connection: Any) -> str | None:
    """SQL for PostgreSQL: an expression that passes the gate once, for a RETURNING or a SELECT.

    None where nothing is notified: on other databases, or by the setting `NOTIFY`.
    """
    if not notifies(connection):
        return None
    name = _literal(channel()).replace("%", "%%")
    return (
        f"CASE WHEN pg_try_advisory_xact_lock_shared({gate_key()}) THEN 0 "
        f"ELSE length(pg_notify({name}, '')::text) END"
    )


def pass_gate(connection: Any) -> None:
    """Pass the gate in the transaction that makes attempts due, before or after it does so.

    In autocommit, call it after the statement that made them due: its own transaction covers what
    is committed already.
    """
    if gate := gate_of(connection.alias):
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {gate}", [])


@cached(SETTING, MODEL_SETTING, "DATABASES")
def gate_of(alias: str) -> str | None:
    """`passing_gate` for a database, made once."""
    return passing_gate(connections[alias])


def listening() -> str:
    """A statement for the connection that listens; from its end on nothing is missed.

    It answers with the server's id of the session. What keeps a silent session alive, and notices
    its client's death, is asked for here: the server's defaults take two hours.
    """
    name = channel().replace('"', '""')
    return (
        f'LISTEN "{name}"; SET idle_session_timeout = 0; SET tcp_keepalives_idle = 10; '
        "SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SELECT pg_backend_pid()"
    )


def taking_gate() -> str:
    """A statement that makes its session the sentinel, if it can be so at once.

    It answers SENTINEL; BESIDE, when another session is; OPEN, when a transaction that has passed
    the gate may not have ended yet. It never waits: a waiter would make all others notify.
    """
    key = gate_key()
    return (
        f"SELECT CASE WHEN pg_try_advisory_lock({key}) THEN '{SENTINEL}' "
        f"WHEN pg_try_advisory_lock_shared({key}) THEN "
        f"CASE WHEN pg_advisory_unlock_shared({key}) THEN '{OPEN}' END "
        f"ELSE '{BESIDE}' END"
    )


def leaving_gate() -> str:
    """A statement by which the sentinel lets go, and tells all listeners that it did."""
    return f"SELECT pg_advisory_unlock({gate_key()}), pg_notify({_literal(channel())}, '')"


def _literal(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))
