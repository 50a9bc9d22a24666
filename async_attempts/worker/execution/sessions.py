"""The state of a database session, as its driver knows it: asked without a round trip."""

from __future__ import annotations

import re
import select
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import ref

from django.db import Error, InterfaceError, OperationalError

CLEAN: Final = 0
"""The session is as a fresh one."""
DIRTY: Final = 1
"""The session has ended, or won't commit by itself: to be closed, without loss of work."""
OPEN: Final = 2
"""The session is in a transaction."""
ABORTED: Final = 3
"""The session is in a transaction that has failed."""

State = Callable[[], int]

POSTGRESQL_STATES: Final = (CLEAN, DIRTY, OPEN, ABORTED, DIRTY)
"""By libpq's PGTransactionStatusType: idle, active, in transaction, in error, unknown."""

POSTGRESQL_LOST: Final = re.compile("08|57P0|53300")
"""SQLSTATEs: connection exceptions, shutdowns and timeouts, too many connections."""

MYSQL_LOST: Final = frozenset(
    {0, 1040, 1053, 1077, 1079, 1129, 1152, 1158, 1159, 1160, 1161, 1203, 1927, 3169, 4031}
)
"""The server's codes; those from 2000 to 2999 are the client's, and all tell of a lost session."""
MYSQL_CLIENT: Final = range(2000, 3000)
MYSQL_TRANSACTION_OPEN: Final = 1568

OPENS_NOTHING: Final = re.compile(
    rb"\s*(?:SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|SAVEPOINT|RELEASE|SHOW)\b", re.IGNORECASE
)
OPENS_LATER: Final = re.compile(
    rb";\s*(?:BEGIN|START|SET|CALL|XA|EXECUTE|COMMIT|ROLLBACK|/\*|-|#)", re.IGNORECASE
)


def state_of(connection: Any) -> State:
    """A function that tells the state of the connection's present session."""
    if not connection.settings_dict["AUTOCOMMIT"]:
        # The project looks after its transactions by itself.
        return lambda: DIRTY if connection.autocommit else CLEAN
    made = {"postgresql": _of_postgresql, "mysql": _of_mysql, "sqlite": _of_sqlite}
    return made.get(connection.vendor, _of_flags)(connection)


def _of_flags(connection: Any) -> State:
    return lambda: CLEAN if connection.autocommit else DIRTY


def _of_postgresql(connection: Any) -> State:
    session = connection.connection
    libpq = session.pgconn

    def state() -> int:
        if libpq.transaction_status == 0 and session.autocommit:
            return CLEAN
        return POSTGRESQL_STATES[libpq.transaction_status] or DIRTY

    return state


def _of_sqlite(connection: Any) -> State:
    session = connection.connection

    def state() -> int:
        try:
            is_open = session.in_transaction
        except connection.Database.Error:
            return DIRTY
        if is_open:
            return OPEN
        return CLEAN if session.isolation_level is None else DIRTY

    return state


def _of_mysql(connection: Any) -> State:
    session = connection.connection
    watch = getattr(session, "_attempts_watch", None) or MySQLWatch(session)

    def state() -> int:
        try:
            has_autocommit = session.get_autocommit()
            if has_autocommit and not watch.in_doubt:
                return CLEAN
            if watch.is_in_transaction():
                return OPEN
        except connection.Database.Error:
            return DIRTY
        return CLEAN if has_autocommit else DIRTY

    return state


class MySQLWatch:
    """Notes whether a statement may have opened a transaction in a session.

    The driver has the server's flag for that, and shows it to nobody; the server is asked only
    where a statement of that kind was sent.
    """

    def __init__(self, session: Any) -> None:
        self.in_doubt = True
        self._session = ref(session)
        self._query = type(session).query
        session._attempts_watch = self
        # All that is executed passes here, also what the driver's own cursors and begin() send.
        session.query = self._note_and_query

    def _note_and_query(self, statement: Any) -> None:
        text = statement.encode() if isinstance(statement, str) else statement
        if not OPENS_NOTHING.match(text) or OPENS_LATER.search(text):
            self.in_doubt = True
        self._query(self._session(), statement)

    def is_in_transaction(self) -> bool:
        """Ask the server, by what it refuses in a transaction and what else changes nothing."""
        session: Any = self._session()
        try:
            self._query(session, b"SET TRANSACTION READ WRITE")
        except session.Error as error:
            if error.args[:1] != (MYSQL_TRANSACTION_OPEN,):
                raise
            return True
        self.in_doubt = False
        return False


def is_pooled(connection: Any) -> bool:
    """True if its sessions come from Django's pool, and go back there when it is closed."""
    return bool(connection.settings_dict["OPTIONS"].get("pool"))


def is_in_testcase(connection: Any) -> bool:
    """True if it is in a `TestCase`'s transaction, and in no other block."""
    blocks = connection.atomic_blocks
    return bool(blocks) and all(block._from_testcase for block in blocks)


def has_left_transaction(connection: Any) -> bool:
    """True if a statement of its own has ended the transaction of the atomic block that is open.

    MySQL's driver doesn't tell.
    """
    if connection.vendor == "postgresql":
        return bool(connection.connection.pgconn.transaction_status == 0)
    return connection.vendor == "sqlite" and not connection.connection.in_transaction


def has_ended(connection: Any) -> bool:
    """True if the server has closed the session: nothing else makes its socket readable for long.

    Only a readable one costs a round trip: a notice or a notification may have come.
    """
    try:
        socket: int = connection.connection.fileno()
    except AttributeError:
        return False
    except connection.Database.Error:
        return True
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0)) and not connection.is_usable()


def tells_of_lost_session(error: BaseException) -> bool:
    """True if there is no session to the database any more, or none to be had."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    cause = error.__cause__ or error
    if hasattr(cause, "sqlite_errorcode"):
        return False
    if hasattr(cause, "sqlstate"):
        # The client's own complaints have no SQLSTATE.
        return cause.sqlstate is None or bool(POSTGRESQL_LOST.match(cause.sqlstate))
    code = error.args[0] if error.args else None
    return code in MYSQL_LOST or code in MYSQL_CLIENT


def close(connection: Any) -> None:
    """Close the connection, and its session too where that would go back to a pool.

    Never raises: what can't be closed is forgotten, and the next use opens another one.
    """
    with suppress(Error):
        if connection.connection is not None and is_pooled(connection):
            connection.connection.close()
        connection.close()
