"""Notifications: the gate before NOTIFY, and the sessions that listen.

A NOTIFY serialises commits, so it is sent only by need. One advisory key guards it: what makes an
attempt due takes the key shared until its transaction ends, and notifies when it can't; an idle
worker, the sentinel, holds it exclusively while it sleeps. So a transaction that didn't notify ends
before any worker becomes the sentinel, and that one looks once more before it sleeps. PostgreSQL
lets others see a transaction's rows before it lets go of its locks.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

from django.db import connections

from ..conf import MODEL_SETTING, SETTING, cached, settings
from ..models import get_attempt_model

LONGEST_CHANNEL: Final = 63

SENTINEL: Final = "sentinel"
BESIDE: Final = "beside"
OPEN: Final = "open"

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

LOOK_BURST: Final = 4
LOOKS_PER_SECOND: Final = 16.0
"""Both together allow at most 20 looks in any second."""
A_TOKEN: Final = 1 - 1e-6
"""The least that counts as a token, for rounding errors."""


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


@cached(SETTING, MODEL_SETTING, "DATABASES")
def gate_of(alias: str) -> str | None:
    """SQL for PostgreSQL: an expression that passes the gate once, for a RETURNING or a SELECT.

    None where nothing is notified: on other databases, or by the setting `NOTIFY`.
    """
    if not notifies(connections[alias]):
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
            session = self.ask(listening())
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


class LookRate:
    """A limit of the looks that notifications cause while there is nothing to find.

    A channel of PostgreSQL has no permissions: any role that may connect can notify. So it is a
    token bucket: each look takes a token, and one that finds something fills the bucket.
    """

    def __init__(self) -> None:
        self._tokens = float(LOOK_BURST)
        self._filled_at = time.monotonic()

    def take(self) -> None:
        """Count a look."""
        self._fill()
        self._tokens = max(0.0, self._tokens - 1)

    def found(self) -> None:
        """Forget the looks before one that found something."""
        self._tokens = float(LOOK_BURST)

    @property
    def seconds(self) -> float:
        """Seconds until the next look is allowed; 0.0 if it is so now."""
        if self._tokens < A_TOKEN:
            self._fill()
        return (1 - self._tokens) / LOOKS_PER_SECOND if self._tokens < A_TOKEN else 0.0

    def _fill(self) -> None:
        moment = time.monotonic()
        self._tokens = min(LOOK_BURST, self._tokens + (moment - self._filled_at) * LOOKS_PER_SECOND)
        self._filled_at = moment
