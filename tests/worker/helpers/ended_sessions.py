"""Sessions that the server ends while nobody uses them."""

from __future__ import annotations

from typing import Any, Final

from django.db import connections

from async_attempts.worker.execution.connection_cleanup import LOOK_PAUSE
from async_attempts.worker.shared.shared_memory import now
from tests.worker.helpers.processes import until

MINE: Final = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
END: Final = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL %s"}
LIVES: Final = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE pid = %s",
    "mysql": "SELECT count(*) FROM information_schema.processlist WHERE id = %s",
}


def session_id(database: str) -> int:
    """The server's number of the session that this thread has."""
    return int(_ask(connections[database], MINE))


def end_session(database: str, number: int) -> None:
    """Have the server end a session; returns when it has, and when a worker would look again."""
    connection = connections[database].copy()
    begun = now()
    try:
        with connection.cursor() as cursor:
            cursor.execute(END[connection.vendor], [number])
        until(lambda: not _ask(connection, LIVES, number))
    finally:
        connection.close()
    until(lambda: now() > begun + LOOK_PAUSE)


def lives(database: str, number: int) -> bool:
    """Whether the server has that session; asked over one that is closed again."""
    connection = connections[database].copy()
    try:
        return bool(_ask(connection, LIVES, number))
    finally:
        connection.close()


def _ask(connection: Any, questions: dict[str, str], *params: object) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(questions[connection.vendor], params)
        return cursor.fetchone()[0]
