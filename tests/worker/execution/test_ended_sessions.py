"""A session that the server has ended meanwhile costs no execution, in whichever thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections

from async_attempts.worker.execution import connection_cleanup as leftovers
from tests.databases import move_table
from tests.shop import effects
from tests.shop.models import Order
from tests.worker.helpers.attempts import enqueued, failures, states, stored
from tests.worker.helpers.ended_sessions import end_session, session_id
from tests.worker.helpers.executing import perform_in_one_thread

with_server = pytest.mark.only("postgresql", "mariadb", reason="SQLite has no server")

ONCE = {"max_attempts": 1}


@pytest.fixture
def unseen(monkeypatch):
    """Nothing shows that a session has ended: a firewall drops its packets, and tells nobody."""
    monkeypatch.setattr(leftovers, "has_ended", lambda _: False)


@pytest.fixture
def ending(database) -> list[Callable[[], object]]:
    """Two actions: the first uses the thread's session, the second has it ended, unnoticed."""
    used: list[int] = []
    return [
        lambda: used.append(session_id(database)),
        lambda: end_session(database, used.pop()),
    ]


@with_server
def test_the_next_target_has_a_new_one(database, ending):
    perform_in_one_thread(database, *ending, lambda: session_id(database))
    assert states(database) == ["succeeded"] * 3


@with_server
def test_a_connection_that_the_target_closed_behind_django_is_replaced(database):
    def close() -> None:
        session_id(database)
        connections[database].connection.close()

    perform_in_one_thread(database, close, lambda: session_id(database))
    assert states(database) == ["succeeded"] * 2


@with_server
@pytest.mark.parametrize("is_seen", [True, False])
def test_an_atomic_target_is_called_on_a_new_one(database, ending, is_seen, request):
    if not is_seen:
        request.getfixturevalue("unseen")
    atomic = enqueued(database, effects.write_row, database, options={**ONCE, "priority": -1})
    perform_in_one_thread(database, *ending)
    assert (stored(atomic).status, stored(atomic).num_attempts) == ("succeeded", 1)


@with_server
@pytest.mark.parametrize("is_seen", [True, False])
def test_what_a_target_is_called_with_is_read_by_a_new_one(database, ending, is_seen, request):
    if not is_seen:
        request.getfixturevalue("unseen")
    order = effects.RecordedOrder.objects.using(database).create(number=7)
    last = {**ONCE, "priority": -1}
    method = enqueued(database, order.of_instance, options=last)
    argument = enqueued(database, effects.record, order, options=last)
    perform_in_one_thread(database, *ending)
    assert [stored(method).status, stored(argument).status] == ["succeeded"] * 2


def out_of_reach(database):
    """Let this thread find no server any more."""
    connection = connections[database]
    connection.close()
    given = connection.settings_dict
    options = {name: value for name, value in given["OPTIONS"].items() if name != "unix_socket"}
    nowhere = {"HOST": "127.0.0.1", "PORT": 1, "OPTIONS": options}
    connection.settings_dict = {**given, **nowhere}
    with pytest.raises(OperationalError):
        connection.ensure_connection()


@with_server
@pytest.mark.parametrize("kind", ["atomic", "method", "argument"])
def test_what_finds_no_server_before_its_target_is_called_is_given_back(database, kind):
    order = effects.RecordedOrder.objects.using(database).create(number=7)
    called = {
        "atomic": (effects.write_row, database),
        "method": (order.of_instance,),
        "argument": (effects.record, order),
    }[kind]
    attempt = enqueued(database, *called, options={**ONCE, "priority": -1})
    perform_in_one_thread(database, lambda: out_of_reach(database))
    given_back = stored(attempt)
    assert (given_back.state, given_back.num_attempts) == ("scheduled", 0)
    assert failures(attempt) == []
    assert effects.seen == []


@with_server
def test_a_database_error_of_another_kind_counts_while_arguments_are_read(database, monkeypatch):
    order = Order.objects.using(database).create(number=7)
    attempt = enqueued(database, effects.record, order, options=ONCE)
    move_table(monkeypatch, Order)
    perform_in_one_thread(database)
    assert (stored(attempt).status, stored(attempt).num_attempts) == ("failed", 1)


def thread_of_the_orm(function, *args):
    return sync_to_async(function)(*args)


def other_thread(function, *args):
    return sync_to_async(function, thread_sensitive=False)(*args)


@with_server
@pytest.mark.parametrize("called", [asyncio.to_thread, thread_of_the_orm, other_thread])
@pytest.mark.usefixtures("one_call_thread")
def test_an_async_target_has_a_new_one(database, called):
    async def use() -> None:
        number = await called(session_id, database)
        await called(end_session, database, number)
        await called(session_id, database)

    perform_in_one_thread(database, use, target=effects.act_asynchronously)
    assert states(database) == ["succeeded"]


@with_server
@pytest.mark.parametrize("called", [asyncio.to_thread, thread_of_the_orm, other_thread])
@pytest.mark.usefixtures("unseen", "one_call_thread")
def test_one_that_failed_a_call_of_an_async_target_is_not_left_to_the_next(database, called):
    async def use() -> None:
        number = await called(session_id, database)
        await called(end_session, database, number)
        with pytest.raises(OperationalError):
            await called(session_id, database)
        await called(session_id, database)

    perform_in_one_thread(database, use, target=effects.act_asynchronously)
    assert states(database) == ["succeeded"]


@pytest.mark.only("postgresql", reason="MariaDB has no notifications")
def test_a_session_with_a_notification_to_read_is_kept(database):
    used = []

    def listen() -> None:
        with connections[database].cursor() as cursor:
            cursor.execute("LISTEN ended_sessions")
        used.append(session_id(database))

    def notify() -> None:
        other = connections[database].copy()
        with other.cursor() as cursor:
            cursor.execute("NOTIFY ended_sessions")
        other.close()
        end_session(database, 0)

    perform_in_one_thread(database, listen, notify, lambda: used.append(session_id(database)))
    assert used[0] == used[1]
