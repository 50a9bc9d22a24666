"""Workers that wait for something to do, and callers that give it to them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any, Final

from django.db import connections, transaction

from async_attempts import Attempt
from async_attempts.store import store_for
from async_attempts.store.notifications import pass_gate
from async_attempts.worker.loop.wakeup import WakeUp
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued
from tests.worker.helpers.processes import PATIENCE

LONG: Final = 600.0
"""A poll interval that no test lives through."""

SOON: Final = 0.25
"""Seconds after which what was to come at once is taken for something that doesn't come."""

LISTENERS: Final = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'async_attempts listener'
"""


def gives(database: str, **options: Any) -> Attempt:
    """An attempt that is due with its transaction's end: now, if no block is open."""
    with transaction.atomic(database):
        attempt = enqueued(database, effects.act, options=options)
        pass_gate(connections[database])
    return attempt


def idle(database: str, interval: float | None = LONG) -> WakeUp:
    """One that listens, having found nothing to do; the gate's first answer was given."""
    wake_up = WakeUp(store_for(database), interval)
    assert listens(wake_up) == 0.0
    return wake_up


def asleep(database: str, interval: float | None = LONG) -> WakeUp:
    """One that has looked once more, and may sleep long."""
    wake_up = idle(database, interval)
    assert wake_up.longest_sleep() == (interval or 5.0)
    return wake_up


def listens(wake_up: WakeUp) -> float:
    """Wait until it listens; what it then says."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        seconds = wake_up.longest_sleep()
        if wake_up.fileno() is not None:
            return seconds
        time.sleep(0.01)
    raise AssertionError("it does not listen")


def is_woken(wake_up: WakeUp) -> bool:
    """Whether its socket becomes readable, now or soon."""
    fd = wake_up.fileno()
    assert fd is not None
    return bool(select.select([fd], [], [], SOON)[0])


def is_notified(wake_up: WakeUp) -> bool:
    """Whether it is woken, and by somebody else's notification."""
    return is_woken(wake_up) and wake_up.notified()


def session_of(wake_up: WakeUp) -> int:
    """The server's id of its listener's session."""
    listener = wake_up._listener
    assert listener is not None
    return int(listener._link.backend_pid)


def sessions_that_listen(database: str) -> set[int]:
    """The server's ids of all listeners' sessions."""
    with connections[database].cursor() as cursor:
        cursor.execute(LISTENERS)
        return {pid for (pid,) in cursor.fetchall()}


def terminate(database: str, *sessions: int) -> None:
    """End them, as an administrator would."""
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) pid", [list(sessions)])
    until(lambda: not set(sessions) & sessions_that_listen(database))


def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, condition
        time.sleep(0.01)
