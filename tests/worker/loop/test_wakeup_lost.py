"""A listener whose connection is lost, can't be had, or isn't its own."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from django.db import connections
from django.test import override_settings
from psycopg.conninfo import make_conninfo

from async_attempts.store import notifications, store_for
from async_attempts.worker.loop import wakeup
from async_attempts.worker.loop.wakeup import Reconnector, WakeUp
from tests.worker.helpers.listeners import (
    LONG,
    asleep,
    gives,
    is_notified,
    is_woken,
    listens,
    session_of,
    sessions_that_listen,
    terminate,
    until,
)

pytestmark = pytest.mark.only("postgresql", reason="the others have no notifications")

PASSWORD = "canary-of-a-password"


@pytest.fixture
def sleeper(database: str) -> Iterator[WakeUp]:
    """The sentinel, asleep."""
    wake_up = asleep(database)
    yield wake_up
    wake_up.close()


@pytest.fixture
def deaf_server() -> Iterator[int]:
    """The port of one that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def dsn(**others: object) -> str:
    """The test's database as a connection string."""
    given = connections["postgresql"].get_connection_params()
    names = {"dbname", "host", "port", "user", "password"}
    return make_conninfo(**{k: v for k, v in given.items() if k in names} | others)


def test_one_whose_session_ends_is_told_looks_and_listens_again(database, sleeper, caplog):
    caplog.set_level(logging.INFO, "async_attempts")
    terminate(database, session_of(sleeper))
    until(lambda: is_woken(sleeper) and sleeper.notified() and sleeper.fileno() is None)
    assert 0 < sleeper.longest_sleep() <= 1
    assert listens(sleeper) == 0.0
    assert sleeper.longest_sleep() == LONG
    gives(database)
    assert is_notified(sleeper)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_sentinel_that_dies_is_replaced_at_the_next_poll(database, sleeper):
    beside = asleep(database)
    terminate(database, session_of(sleeper))
    assert [beside.longest_sleep() for _ in range(2)] == [0.0, LONG]
    gives(database)
    assert is_notified(beside)
    beside.close()


@pytest.mark.parametrize("when", ["asked", "busy", "let go"])
def test_a_loss_that_is_noticed_late_stops_nothing(database, sleeper, when):
    other = asleep(database)
    terminate(database, session_of(sleeper), session_of(other))
    if when == "asked":
        assert other.longest_sleep() <= 1
    elif when == "busy":
        other.busy()
    else:
        sleeper.close()
    assert listens(other) == 0.0
    other.close()


def test_an_answer_that_does_not_come_ends_the_session(database, sleeper, monkeypatch):
    beside = asleep(database)
    session = session_of(beside)
    monkeypatch.setattr(notifications, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(notifications, "taking_gate", lambda: "SELECT pg_sleep(60)")
    assert beside.longest_sleep() <= 1
    assert beside.fileno() is None
    beside.close()
    terminate(database, session)


def test_one_that_can_not_listen_polls_and_warns_once_without_a_secret(database, caplog):
    nobody = {"LISTEN_DSN": dsn(host="127.0.0.1", port=1, password=PASSWORD)}
    pausing = patch.object(Reconnector, "pause", autospec=True, side_effect=Reconnector.pause)
    with override_settings(ASYNC_ATTEMPTS=nobody), pausing as pause:
        wake_up = WakeUp(store_for(database), LONG)
        until(lambda: wake_up.longest_sleep() == 1.0 and caplog.records)
        until(lambda: wake_up.longest_sleep() and pause.call_count > 1)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "OperationalError" in caplog.text
    assert PASSWORD not in caplog.text
    wake_up.close()


def test_a_connection_string_that_is_none_is_told_by_its_errors_class(database, caplog):
    with override_settings(ASYNC_ATTEMPTS={"LISTEN_DSN": PASSWORD}):
        wake_up = WakeUp(store_for(database), None)
        assert 0 < wake_up.longest_sleep() <= 1
    assert "ProgrammingError" in caplog.text
    assert PASSWORD not in caplog.text
    wake_up.close()


def test_a_network_that_swallows_all_holds_up_nobody(database, deaf_server):
    """It returns while the connection is still being made."""
    deaf = {"LISTEN_DSN": dsn(host="127.0.0.1", port=deaf_server)}
    with override_settings(ASYNC_ATTEMPTS=deaf):
        wake_up = WakeUp(store_for(database), LONG)
        assert [wake_up.longest_sleep() for _ in range(3)] == [0.05, 0.1, 0.2]
    wake_up.close()


def test_it_listens_where_the_setting_says(database, monkeypatch):
    direct = dsn(options="-c search_path=elsewhere")
    connections[database].ensure_connection()
    nobody = connections[database].get_connection_params() | {"host": "127.0.0.1", "port": "1"}
    with override_settings(ASYNC_ATTEMPTS={"LISTEN_DSN": direct}):
        connection = type(connections[database])
        monkeypatch.setattr(connection, "get_connection_params", lambda _: nobody)
        wake_up = asleep(database)
    gives(database)
    assert is_notified(wake_up)
    wake_up.close()


def test_what_comes_too_late_is_closed(database):
    wake_up = WakeUp(store_for(database), None)
    wake_up.longest_sleep()
    connecting = wake_up._reconnector._thread
    assert connecting is not None
    wake_up.close()
    connecting.join()
    until(lambda: not sessions_that_listen(database))


def test_a_child_uses_nothing_of_its_parents(database, sleeper, monkeypatch):
    monkeypatch.setattr(wakeup, "os", SimpleNamespace(getpid=lambda: -1))
    inherited = wakeup._parents_listeners
    parents = session_of(sleeper)
    assert sleeper.fileno() is None
    assert listens(sleeper) == 0.0
    own = session_of(sleeper)
    assert sleeper.longest_sleep() == LONG  # beside its parent
    assert {parents, own} <= sessions_that_listen(database)
    sleeper.close()
    until(lambda: own not in sessions_that_listen(database))
    assert parents in sessions_that_listen(database)
    inherited.pop().close()
