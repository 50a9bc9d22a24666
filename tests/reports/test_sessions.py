"""Database sessions that end while a worker is idle, as other projects' users reported it."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from async_attempts.worker.execution.connection_cleanup import LOOK_PAUSE
from async_attempts.worker.shared.shared_memory import now
from tests.shop import effects
from tests.worker.helpers.attempts import states
from tests.worker.helpers.ended_sessions import end_session, lives, session_id
from tests.worker.helpers.executing import perform_in_one_thread
from tests.worker.helpers.processes import until


@pytest.mark.slow
@pytest.mark.only("mariadb", reason="its wait_timeout")
def test_the_first_task_after_the_servers_wait_timeout(database):
    """Koed00/django-q 76, rq/django-rq 186, coleifer/huey 397: "MySQL server has gone away"."""
    sessions = []

    def ask() -> None:
        sessions.append(session_id(database))
        with connections[database].cursor() as cursor:
            cursor.execute("SET SESSION wait_timeout = 1")

    def be_idle() -> None:
        begun = now()
        until(lambda: not lives(database, sessions[0]))
        until(lambda: now() > begun + LOOK_PAUSE)

    perform_in_one_thread(database, ask, be_idle, ask)
    assert states(database) == ["succeeded"] * 3
    assert sessions[0] != sessions[1]


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")
def test_a_closed_session_is_not_tried_for_ever(database):
    """procrastinate-org/procrastinate 1134: "the connection is closed", task after task."""
    sessions = []

    def ask() -> None:
        sessions.append(session_id(database))

    def end() -> None:
        end_session(database, sessions[0])

    perform_in_one_thread(database, ask, end, ask, ask)
    assert states(database) == ["succeeded"] * 4


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")
def test_sync_code_of_an_async_task_finds_a_session_that_lives(database):
    """django/channels 1234: the next call in the same thread gets the session that was dropped."""

    async def ask_twice() -> None:
        number = await sync_to_async(session_id)(database)
        await sync_to_async(end_session)(database, number)
        await sync_to_async(session_id)(database)

    perform_in_one_thread(database, ask_twice, target=effects.act_asynchronously)
    assert states(database) == ["succeeded"]
