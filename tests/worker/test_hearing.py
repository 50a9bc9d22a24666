"""Who waits on PostgreSQL hears that something has ended; nobody is notified who doesn't."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connections, transaction
from django.test import override_settings

from async_attempts import Attempt, AttemptExpired, AttemptFailed, call, gather
from async_attempts.results import hearing
from async_attempts.store import store_for
from async_attempts.store.gate import DUE, ENDED, channel, gate_key
from async_attempts.store.listener import Listener
from tests.shop import effects, flows
from tests.worker.helpers.attempts import drain, enqueued, put, raising, stored
from tests.worker.helpers.listeners import until

pytestmark = pytest.mark.only("postgresql", reason="the others have no notifications")
SOON = 1.0
KEEP = {"keep_result": True}
WAITERS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'async_attempts waiter'
"""


def sessions(database: str) -> set[int]:
    """Those that hear."""
    with connections[database].cursor() as cursor:
        cursor.execute(WAITERS)
        return {pid for (pid,) in cursor.fetchall()}


def holds_gate(database: str) -> bool:
    """Whether somebody waits, as those see it who end attempts."""
    with connections[database].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' "
            "AND datname = current_database() "
            "AND ((classid::bigint << 32) | objid::bigint) = %s",
            [gate_key(ENDED)],
        )
        return bool(cursor.fetchone()[0])


@pytest.fixture
def when_heard(database, beside) -> Callable[..., None]:
    """Do something as soon as the gate is held."""

    def do(work: Callable[..., object], *args: object) -> None:
        def later() -> None:
            until(lambda: holds_gate(database))
            # By then it has looked for the last time.
            time.sleep(0.1)
            work(*args)

        beside.do(later)

    return do


@pytest.fixture
def bystander(database) -> Iterator[psycopg.Connection]:
    """Listens to what is notified to those who wait."""
    connection = psycopg.connect(**connections[database].get_connection_params(), autocommit=True)
    connection.execute(f'LISTEN "{channel(ENDED)}"')
    yield connection
    connection.close()


def notifications(bystander: psycopg.Connection) -> int:
    """How many came."""
    return len(list(bystander.notifies(timeout=0.3)))


def wait(attempt: Attempt) -> None:
    """Until it has ended, whatever its target returned."""
    gather(attempt, until="settled", timeout=30)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
@pytest.mark.parametrize("options", [{}, KEEP])
@pytest.mark.usefixtures("no_polling")
def test_a_success_wakes_who_waits(database, acting, when_heard, target, options):
    acting(lambda: 5)
    attempt = enqueued(database, target, options=options)
    when_heard(drain, database)
    assert seconds(lambda: wait(attempt)) < SOON + 1
    assert stored(attempt).stored_result == (5 if options else None)


def test_a_success_wakes_a_coroutine(database, no_polling, when_heard):
    attempt = enqueued(database, effects.act, options=KEEP)
    when_heard(drain, database)
    async_to_sync(attempt.aresult)(30)


def test_a_failure_wakes_who_waits(database, acting, no_polling, when_heard):
    acting(raising(ValueError()))
    attempt = enqueued(database, effects.act, options={"max_attempts": 1})
    when_heard(drain, database)
    with pytest.raises(AttemptFailed):
        attempt.result(30)


def test_what_is_cancelled_while_it_runs_wakes_who_waits(database, acting, no_polling, when_heard):
    def work() -> None:
        stored(attempt).request_cancel()
        raise ValueError

    acting(work)
    attempt = enqueued(database, effects.act)
    when_heard(drain, database)
    with pytest.raises(AttemptExpired):
        attempt.result(30)


@pytest.mark.parametrize("verb", ["fail", "expire"])
def test_a_persons_verb_wakes_who_waits(database, no_polling, when_heard, verb):
    attempt = enqueued(database, effects.act)
    when_heard(getattr(Attempt.objects.using(database), verb))
    with pytest.raises((AttemptExpired, AttemptFailed)):
        attempt.result(30)


def test_a_chain_that_can_not_go_on_wakes_who_waits(database, no_polling, when_heard):
    flow = call(flows.refuse).using(database=database).then(flows.fetch).then(flows.fetch)
    last = flow.enqueue()
    when_heard(drain, database)
    with pytest.raises(AttemptExpired):
        last.result(30)


def test_what_comes_too_late_wakes_who_waits(database, no_polling, when_heard):
    attempt = enqueued(database, effects.act, options={"expires_at": timedelta(seconds=0.01)})
    when_heard(store_for(database).expire_overdue)
    with pytest.raises(AttemptExpired):
        attempt.result(30)


def test_a_deleted_success_wakes_who_waits(database, no_polling, when_heard):
    attempt = enqueued(database, effects.act)
    queues = {"default": {"keep": {"succeeded": 0}}, "emails": {}, "fulfilment": {}}
    with override_settings(ASYNC_ATTEMPTS={**settings.ASYNC_ATTEMPTS, "QUEUES": queues}):
        when_heard(drain, database)
        with pytest.raises(Exception, match="is gone"):
            attempt.result(30)


def test_what_ends_before_one_who_waits_joins_is_seen(database, no_polling, beside, monkeypatch):
    other, attempt = (enqueued(database, effects.act) for _ in range(2))
    beside.do(wait, other)
    until(lambda: holds_gate(database))

    def join_late(alias):
        put(attempt, status="succeeded", completed_at=attempt.created_at)
        return hearing.hearing_on(alias)

    monkeypatch.setattr("async_attempts.results.waiting.hearing_on", join_late)
    wait(attempt)
    drain(database)


def test_what_is_rolled_back_wakes_nobody(database, bystander, when_heard):
    attempt = enqueued(database, effects.act)

    def roll_back() -> None:
        with transaction.atomic(database):
            Attempt.objects.using(database).expire()
            transaction.set_rollback(True, database)

    when_heard(roll_back)
    with pytest.raises(TimeoutError):
        attempt.result(1)
    assert notifications(bystander) == 0


def test_while_nobody_waits_nobody_is_notified(database, acting, bystander):
    acting(lambda ok: ok or 1 / 0)
    for ok in (True, False):
        for options in ({"max_attempts": 1}, {"max_attempts": 1, **KEEP}):
            enqueued(database, effects.act, ok, options=options)
            enqueued(database, effects.act_atomically, ok, options=options)
    drain(database)
    enqueued(database, effects.act).expire()
    assert notifications(bystander) == 0


def test_two_who_wait_share_a_session_and_the_last_one_leaves_it_for_some_time(
    database, beside, monkeypatch
):
    monkeypatch.setattr(hearing, "LINGER", 0.5)
    attempts = [enqueued(database, effects.act) for _ in range(2)]
    for attempt in attempts:
        beside.do(wait, attempt)
    until(lambda: len(sessions(database)) == 1 and holds_gate(database))
    (session,) = sessions(database)
    drain(database)
    until(lambda: not holds_gate(database))
    until(lambda: not sessions(database))
    # The next one begins anew.
    again = enqueued(database, effects.act)
    beside.do(wait, again)
    until(lambda: sessions(database) - {session})
    drain(database)


def test_what_has_ended_already_needs_no_session(database):
    attempt = enqueued(database, effects.act)
    drain(database)
    wait(attempt)
    assert not hearing._hearings
    assert sessions(database) == set()


def test_who_only_looks_once_needs_no_session(database):
    attempt = enqueued(database, effects.act)
    for look in (attempt.result, async_to_sync(attempt.aresult)):
        with pytest.raises(TimeoutError):
            look(0)
    assert not hearing._hearings
    assert sessions(database) == set()


def test_a_session_that_is_lost_is_had_again(database, no_polling, beside, monkeypatch):
    monkeypatch.setattr(hearing, "FIRST_PAUSE", 0.01)
    attempt = enqueued(database, effects.act)
    beside.do(wait, attempt)
    until(lambda: holds_gate(database))
    (session,) = sessions(database)
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [session])
    until(lambda: sessions(database) - {session} and holds_gate(database))
    drain(database)


def test_a_session_that_is_lost_after_an_outage_is_had_again_soon(database, beside, monkeypatch):
    monkeypatch.setattr(hearing, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(hearing, "LONGEST_PAUSE", 60.0)
    pauses = []
    outage = iter([True] * 3)

    def connect(*args):
        if next(outage, False):
            raise psycopg.OperationalError
        return Listener(*args)

    monkeypatch.setattr("async_attempts.results.hearing.Listener", connect)
    monkeypatch.setattr("random.uniform", lambda *_: 1)
    monkeypatch.setattr(hearing.Hearing, "_rest", lambda _, pause: pauses.append(pause))
    attempt = enqueued(database, effects.act)
    beside.do(wait, attempt)
    until(lambda: holds_gate(database))
    with connections[database].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", list(sessions(database)))
    until(lambda: len(pauses) == 4 and holds_gate(database))
    assert pauses == [0.01, 0.02, 0.04, 0.01]
    drain(database)


def test_while_another_process_holds_the_gate_this_one_hears_too(
    database, no_polling, beside, bystander
):
    bystander.execute("SELECT pg_advisory_lock(%s)", [gate_key(ENDED)])
    attempt = enqueued(database, effects.act)
    beside.do(wait, attempt)
    until(lambda: sessions(database))
    time.sleep(0.1)
    drain(database)
    beside.close()
    # When the other one leaves, this one takes the gate.
    other = enqueued(database, effects.act)
    beside.do(wait, other)
    time.sleep(0.1)
    bystander.execute("SELECT pg_advisory_unlock(%s)", [gate_key(ENDED)])
    until(lambda: holds_gate(database))
    drain(database)


def test_what_ends_before_the_gate_can_be_taken_is_seen_once_it_is(
    database, no_polling, beside, bystander
):
    """A transaction that passed the gate before anybody waited ends while somebody does."""
    bystander.execute("BEGIN")
    bystander.execute("SELECT pg_try_advisory_xact_lock_shared(%s)", [gate_key(ENDED)])
    attempt = enqueued(database, effects.act)
    beside.do(wait, attempt)
    until(lambda: sessions(database))
    time.sleep(0.1)
    put(attempt, status="succeeded", completed_at=attempt.created_at)
    assert not holds_gate(database)
    bystander.execute("COMMIT")
    beside.close()


def test_a_coroutine_that_is_cancelled_leaves(database, monkeypatch):
    attempt = enqueued(database, effects.act)

    async def cancelled(after: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(after):
                await attempt.aresult()

    # At any moment: before its first look, during it, and while it waits.
    for after in (0, 0.0005, 0.001, 0.002, 0.004, 0.1):
        async_to_sync(cancelled)(after)
        until(lambda: not any(h._wakes for h in hearing._hearings.values()))
    assert hearing._hearings


def test_who_is_interrupted_while_joining_leaves(database, monkeypatch):
    attempt = enqueued(database, effects.act)
    monkeypatch.setattr(hearing.Hearing, "_start", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        attempt.result(30)
    (heard,) = hearing._hearings.values()
    assert not heard._wakes
    heard._thread.clear()


@pytest.mark.parametrize(
    "given", [{"NOTIFY": False}, {"LISTEN_DSN": "host=127.0.0.1 port=9"}, {"LISTEN_DSN": "no dsn"}]
)
def test_who_can_not_hear_polls(database, beside, given, caplog):
    with (
        override_settings(ASYNC_ATTEMPTS={**settings.ASYNC_ATTEMPTS, **given}),
        caplog.at_level(logging.INFO, "async_attempts"),
    ):
        attempt = enqueued(database, effects.act)
        beside.drain(database)
        wait(attempt)
        assert sessions(database) == set()


def test_who_can_have_no_thread_polls_and_the_next_one_tries_again(database, beside, monkeypatch):
    attempt = enqueued(database, effects.act)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == hearing.NAME:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(TimeoutError):
            attempt.result(0.05)
    assert not any(h._wakes for h in hearing._hearings.values())
    beside.do(wait, attempt)
    until(lambda: holds_gate(database))
    drain(database)


def test_a_fork_leaves_its_parents_session_alone(database, beside):
    attempt = enqueued(database, effects.act)
    beside.do(wait, attempt)
    until(lambda: holds_gate(database))
    pid = os.fork()
    if not pid:
        os._exit(len(hearing._hearings) + (len(hearing._parents_hearings) != 1))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert holds_gate(database)
    drain(database)


def test_the_two_gates_differ():
    assert gate_key(DUE) != gate_key(ENDED)
    assert channel(ENDED) == f"{channel(DUE)}_ended"
