"""Waking up: who notifies whom, step by step, each step in the order that a test decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.db import connections, transaction
from django.test import override_settings

from async_attempts.store import store_for
from async_attempts.store.notifications import pass_gate
from async_attempts.worker.loop.wakeup import WakeUp
from tests.store.sessions import Session
from tests.worker.helpers import listeners
from tests.worker.helpers.listeners import LONG, asleep, gives, is_notified, is_woken, listens

on_postgresql = pytest.mark.only("postgresql", reason="the others have no notifications")


@pytest.fixture
def idle(database: str) -> Iterator[Callable[[], WakeUp]]:
    """Workers that have just begun to listen, and were told to look once more."""
    yield from _made(lambda: listeners.idle(database))


@pytest.fixture
def sleeper(database: str) -> Iterator[Callable[[], WakeUp]]:
    """Workers that sleep, as the sentinel the first of them."""
    yield from _made(lambda: asleep(database))


def _made(make: Callable[[], WakeUp]) -> Iterator[Callable[[], WakeUp]]:
    made: list[WakeUp] = []

    def make_one() -> WakeUp:
        made.append(make())
        return made[-1]

    yield make_one
    for wake_up in made:
        wake_up.close()


@pytest.fixture
def caller(database: str) -> Iterator[Session]:
    """Somebody who opens a transaction."""
    session = Session(database)
    yield session
    session.close()


@on_postgresql
def test_one_that_begins_to_listen_looks_once_more_before_it_sleeps(database, idle):
    wake_up = idle()
    assert wake_up.longest_sleep() == LONG


@on_postgresql
def test_one_beside_a_sentinel_looks_once_more_before_it_sleeps(database, sleeper, idle):
    sleeper()
    beside = idle()
    assert beside.longest_sleep() == LONG
    assert beside.longest_sleep() == LONG


@on_postgresql
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_an_open_transaction_makes_it_look_often_until_that_has_ended(database, caller, ends):
    wake_up = WakeUp(store_for(database), LONG)
    caller.begin()
    caller.do(gives, database)
    first = listens(wake_up)
    sleeps = [first, *(wake_up.longest_sleep() for _ in range(6))]
    assert sleeps == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    getattr(caller, ends)()
    assert not is_woken(wake_up)
    assert [wake_up.longest_sleep() for _ in range(2)] == [0.0, LONG]
    wake_up.close()


@on_postgresql
def test_what_the_sentinel_sleeps_through_notifies_all_when_it_commits(database, sleeper, caller):
    sentinel, beside = sleeper(), sleeper()
    caller.begin()
    caller.do(gives, database)
    assert not is_woken(sentinel)
    caller.commit()
    assert is_notified(sentinel)
    assert is_notified(beside)


@on_postgresql
def test_a_rollback_notifies_nobody(database, sleeper, caller):
    sentinel = sleeper()
    caller.begin()
    caller.do(gives, database)
    caller.rollback()
    assert not is_woken(sentinel)


@on_postgresql
def test_what_was_rolled_back_to_a_savepoint_leaves_the_gate(database, idle):
    with transaction.atomic(database):
        with transaction.atomic(database):
            pass_gate(connections[database])
            transaction.set_rollback(True, database)
        assert idle().longest_sleep() == LONG


@on_postgresql
def test_nothing_is_notified_while_no_worker_is_idle(database, sleeper):
    worker = sleeper()
    worker.busy()
    worker.busy()
    gives(database)
    assert not is_notified(worker)


@on_postgresql
def test_a_sentinel_keeps_the_gate_for_the_first_that_it_finds(database, sleeper):
    sentinel, beside = sleeper(), sleeper()
    for _ in range(3):
        sentinel.busy()
        assert sentinel.longest_sleep() == LONG
    assert not is_woken(beside)
    gives(database)
    assert is_notified(sentinel)


@on_postgresql
def test_a_sentinel_that_lets_go_tells_the_others_and_not_itself(database, sleeper):
    sentinel, beside = sleeper(), sleeper()
    sentinel.busy()
    sentinel.busy()
    assert is_notified(beside)
    assert not sentinel.notified()
    assert [beside.longest_sleep() for _ in range(2)] == [0.0, LONG]
    gives(database)
    assert is_notified(beside)


@on_postgresql
def test_a_sentinel_that_ends_tells_the_others(database, sleeper):
    sentinel, beside = sleeper(), sleeper()
    sentinel.close()
    assert is_notified(beside)
    assert [beside.longest_sleep() for _ in range(2)] == [0.0, LONG]


@on_postgresql
def test_the_gate_may_change_hands_between_two_looks(database, sleeper):
    """One beside it sleeps long only if it looked after the last change."""
    first, beside, second = sleeper(), sleeper(), sleeper()
    first.busy()
    first.busy()
    gives(database)  # unheard: nobody holds the gate
    assert is_notified(second)
    assert second.longest_sleep() == 0.0
    assert is_notified(beside)
    assert [beside.longest_sleep() for _ in range(2)] == [0.0, LONG]


@on_postgresql
def test_what_comes_while_it_asks_is_looked_for(database, sleeper):
    """The driver has read the notification together with an answer: the socket won't tell."""
    sleeper()
    beside = sleeper()
    gives(database)
    assert is_woken(beside)
    assert beside.longest_sleep() == 0.0


@on_postgresql
@pytest.mark.parametrize("role", ["sentinel", "beside"])
def test_what_comes_while_it_is_busy_is_looked_for(database, sleeper, role):
    workers = {"sentinel": sleeper(), "beside": sleeper()}
    gives(database)
    assert is_woken(workers[role])
    workers[role].busy()
    assert workers[role].longest_sleep() == 0.0


@on_postgresql
def test_a_sentinel_that_sleeps_asks_nothing(database, sleeper, monkeypatch):
    sentinel = sleeper()
    monkeypatch.delattr("async_attempts.store.notifications.Listener.ask")
    assert [sentinel.longest_sleep() for _ in range(3)] == [LONG] * 3
    assert sentinel.notified() is False


@on_postgresql
@pytest.mark.parametrize(("asked", "sleeps"), [(None, 5.0), (0.2, 0.2), (60.0, 60.0)])
def test_the_interval_may_be_asked_for(database, asked, sleeps):
    wake_up = asleep(database, asked)
    assert wake_up.longest_sleep() == sleeps
    wake_up.close()


@pytest.mark.parametrize(("asked", "sleeps"), [(None, 1.0), (0.2, 0.2), (60.0, 60.0)])
def test_without_notifications_it_polls(database, asked, sleeps):
    with override_settings(ASYNC_ATTEMPTS={"NOTIFY": False}):
        wake_up = WakeUp(store_for(database), asked)
        pass_gate(connections[database])
    wake_up.busy()
    assert (wake_up.longest_sleep(), wake_up.longest_sleep()) == (sleeps, sleeps)
    assert wake_up.fileno() is None
    assert wake_up.notified() is False
    wake_up.close()


@pytest.mark.only("sqlite", "mariadb", reason="PostgreSQL has notifications")
def test_other_databases_poll(database):
    wake_up = WakeUp(store_for(database), None)
    pass_gate(connections[database])
    assert wake_up.longest_sleep() == 1.0
    assert wake_up.fileno() is None
    wake_up.close()
