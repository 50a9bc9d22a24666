"""The connection over which a worker is woken, and getting it again when it was lost."""

from __future__ import annotations

import random
import selectors
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

from ..store import gate

ANSWER_SECONDS: Final = 5.0
LONGEST_PAUSE: Final = 15.0

DEFAULTS: Final[Mapping[str, Any]] = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""What isn't said otherwise, so that a network that went dead is noticed within 25 s."""

OURS: Final[Mapping[str, Any]] = {
    "application_name": "async_attempts listener",
    "autocommit": True,
}


class BehindPooler(Exception):
    """The session isn't this connection's own: a lock and a LISTEN would be anybody's."""


class Listener:
    """A session of its own that listens. Any error means that it is of no use any more."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        """Connects and listens. Raises BehindPooler, or what the driver raises."""
        import psycopg

        self._connection = psycopg.connect(**{**DEFAULTS, **params, **OURS})
        self._link = self._connection.pgconn
        self._heard = False
        try:
            session = self.ask(gate.listening())
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

    def heard(self) -> bool:
        """Whether another session has notified since the last call; never waits."""
        self._link.consume_input()
        self._note_notifications()
        heard, self._heard = self._heard, False
        return heard

    def close(self) -> None:
        """Closes the connection, and with it lets go of what the session holds."""
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


class Reconnecting:
    """Gets a Listener in a thread: a network that swallows what it is sent holds up nobody."""

    def __init__(self, params: Callable[[], Mapping[str, Any]]) -> None:
        self._params = params
        self._came: SimpleQueue[Listener | Exception] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pauses = 0
        self._next_try = 0.0
        self._closed = False

    def came(self) -> Listener | None:
        """The new one, if there is one by now. Raises once, for each try, why there is none."""
        if self._thread is None:
            if time.monotonic() >= self._next_try:
                self._try(self._params())
            return None
        try:
            outcome = self._came.get_nowait()
        except Empty:
            return None
        self._thread = None
        if isinstance(outcome, Exception):
            raise outcome
        self._pauses = 0
        return outcome

    def pause(self) -> None:
        """Let some time pass before the next try, ever more, with jitter."""
        self._pauses += 1
        pause = min(2.0**self._pauses / 4, LONGEST_PAUSE) * random.uniform(0.5, 1)
        self._next_try = time.monotonic() + pause

    def close(self) -> None:
        """Close what may still come."""
        self._closed = True
        self._close_those_that_came()

    def _try(self, params: Mapping[str, Any]) -> None:
        self._thread = threading.Thread(
            target=self._connect, args=[params], name="listener", daemon=True
        )
        self._thread.start()

    def _connect(self, params: Mapping[str, Any]) -> None:
        try:
            self._came.put(Listener(params))
        except Exception as error:
            self._came.put(error)
        if self._closed:
            self._close_those_that_came()

    def _close_those_that_came(self) -> None:
        with suppress(Empty):
            while True:
                outcome = self._came.get_nowait()
                if isinstance(outcome, Listener):
                    outcome.close()
