"""A connection that listens: over it an idle worker is woken."""

from __future__ import annotations

import selectors
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from ..conf import settings
from . import notifications

ANSWER_SECONDS: Final = 5.0

DEFAULTS: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""Parameters by default, so that a network that went dead is noticed within 25 s."""

SERVER: Final = frozenset({"host", "hostaddr", "port", "service"})
CREDENTIALS: Final = frozenset({"password", "passfile", "sslcert", "sslkey", "sslpassword"})

APPLICATION_NAME: Final = "async_attempts listener"


class BehindPooler(Exception):
    """The session isn't this connection's own: a lock and a LISTEN would be anybody's."""


def params_of(connection: Any) -> Mapping[str, Any]:
    """Return the parameters to listen with: Django's own, but for the setting `LISTEN_DSN`.

    A DSN that names another server says itself how it is reached; one that names another user,
    how that one is authenticated.
    """
    params: dict[str, Any] = connection.get_connection_params()
    if (dsn := settings().LISTEN_DSN) is None:
        return params
    from psycopg.conninfo import conninfo_to_dict

    said = conninfo_to_dict(dsn)
    replaced: set[str] = set()
    if not SERVER.isdisjoint(said):
        replaced |= SERVER
    if said.get("user", params.get("user")) != params.get("user"):
        replaced |= CREDENTIALS
    return {name: value for name, value in params.items() if name not in replaced} | said


def has_password(dsn: str) -> bool:
    """True if the connection string or URL holds one; False where no psycopg can read it."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        return False
    with suppress(ProgrammingError):
        return not {"password", "sslpassword"}.isdisjoint(conninfo_to_dict(dsn))
    return False


class Listener:
    """A session of its own that listens. Any error means that it is of no use any more."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Connect and listen. Raises BehindPooler, or what the driver raises."""
        import psycopg

        ours = {"application_name": APPLICATION_NAME, "autocommit": True}
        self._connection = psycopg.connect(**{**DEFAULTS, **params, **ours})
        self._link = self._connection.pgconn
        self._heard = False
        try:
            session = self.ask(notifications.listening())
            if session != str(self._link.backend_pid):
                raise BehindPooler
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """The socket."""
        return int(self._link.socket)

    def ask(self, statement: str) -> str:
        """The answer to a statement. Raises TimeoutError after ANSWER_SECONDS."""
        from psycopg import pq
        from psycopg.errors import error_from_result

        deadline = time.monotonic() + ANSWER_SECONDS
        self._link.send_query(statement.encode())
        while self._link.flush():
            self._wait(selectors.EVENT_READ | selectors.EVENT_WRITE, deadline)
            self._link.consume_input()
        answer = b""
        while (result := self._result(deadline)) is not None:
            if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
                raise error_from_result(result)
            if result.ntuples:
                answer = result.get_value(0, 0) or b""
        # They may have come with the answer, and the socket would never tell.
        self._note_notifications()
        return answer.decode()

    def wait(self, seconds: float) -> None:
        """Wait until something may have come, at most for these seconds."""
        with suppress(TimeoutError):
            self._wait(selectors.EVENT_READ, time.monotonic() + seconds)

    def heard(self) -> bool:
        """Return True if another session has notified since the last call; never waits."""
        self._link.consume_input()
        self._note_notifications()
        heard, self._heard = self._heard, False
        return heard

    def close(self) -> None:
        """Close the connection, and with it release what the session holds."""
        self._connection.close()

    def _result(self, deadline: float) -> Any:
        while self._link.is_busy():
            self._wait(selectors.EVENT_READ, deadline)
            self._link.consume_input()
        return self._link.get_result()

    def _wait(self, events: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno(), events)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError

    def _note_notifications(self) -> None:
        while (notification := self._link.notifies()) is not None:
            if notification.be_pid != self._link.backend_pid:
                self._heard = True
