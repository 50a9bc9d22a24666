"""Those who wait in a process ask together: by one statement, in the thread of one of them."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from contextlib import suppress
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper
from django.db.utils import OperationalError

from async_attempts import Attempt, AttemptExpired, call, gather
from async_attempts.results import outcomes, polling
from tests.shop import effects, flows
from tests.worker.helpers.attempts import drain, enqueued, raising, stored
from tests.worker.helpers.executing import drain_in_threads
from tests.worker.helpers.processes import PATIENCE, until
from tests.worker.helpers.waiting import polls

KEEP = {"keep_result": True}
HALF = 100
SECONDS = 1.0


class Asked:
    """The statements that read attempts, of all threads."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __len__(self) -> int:
        return len(self.statements)


@pytest.fixture
def asked(monkeypatch) -> Asked:
    asked, execute = Asked(), CursorWrapper.execute

    def noted(cursor, sql, params=None):
        if sql.startswith("SELECT") and Attempt._meta.db_table in sql:
            asked.statements.append(sql)
        return execute(cursor, sql, params)

    monkeypatch.setattr(CursorWrapper, "execute", noted)
    return asked


@pytest.fixture
def many(database) -> list[Attempt]:
    options = {"database": database, "keep_result": True}
    return [call(flows.fetch, n).using(**options).enqueue() for n in range(2 * HALF)]


def waits(beside, attempts, timeout):
    """Have threads wait for half of them, and as many tasks of one event loop for the others."""
    answers = {}

    def in_a_thread(attempt):
        with suppress(TimeoutError, AttemptExpired):
            answers[attempt.pk] = attempt.result(timeout)

    async def in_a_task(attempt):
        with suppress(TimeoutError, AttemptExpired):
            answers[attempt.pk] = await attempt.aresult(timeout)

    async def in_tasks():
        await asyncio.gather(*map(in_a_task, attempts[HALF:]))

    for attempt in attempts[:HALF]:
        beside.do(in_a_thread, attempt)
    beside.do(async_to_sync(in_tasks))
    return answers


def begin(beside, attempt, **options):
    """Have a thread wait for it; returns when it does."""
    before = len(polls())
    beside.do(lambda: gather(attempt, until="settled", timeout=PATIENCE, **options))
    until(lambda: len(polls()) > before)


# --- one statement for all


def test_two_hundred_ask_no_more_than_one(many, asked, beside):
    with suppress(TimeoutError):
        many[0].result(SECONDS)
    one = len(asked)
    asked.statements.clear()
    began = time.monotonic()
    # On a slow machine the first ones are through before the last ones come.
    answers = waits(beside, many, SECONDS)
    beside.close()
    # While they come and go, each look may be theirs, but no two are closer than that.
    assert len(asked) <= one + 2 + (time.monotonic() - began) / polling.SPACING
    assert not answers


def test_once_they_wait_they_ask_as_often_as_one(database, many, asked, beside):
    waits(beside, many, PATIENCE)
    until(lambda: len(polls()) == len(many))
    time.sleep(SECONDS)
    asked.statements.clear()
    time.sleep(SECONDS)
    assert len(asked) <= 1 + SECONDS / polling.LONGEST
    assert all(sql.partition(" IN (")[2].count(",") == len(many) - 1 for sql in asked.statements)
    Attempt.objects.using(database).expire()
    beside.close()


def test_each_of_two_hundred_has_its_own_answer(database, many, asked, beside):
    answers = waits(beside, many, 60)
    until(lambda: len(polls()) == len(many))
    asked.statements.clear()
    drain(database)
    beside.close()
    assert answers == {attempt.pk: number for number, attempt in enumerate(many)}
    # What the worker asks has another form.
    assert sum("sealed_result" in sql for sql in asked.statements) < HALF


def test_who_joins_those_who_have_long_waited_is_answered_soon(database, acting, beside):
    ended = enqueued(database, effects.act, options=KEEP)
    drain(database)
    begin(beside, enqueued(database, effects.act))
    time.sleep(SECONDS)
    began = time.monotonic()
    assert ended.result(30) is None
    assert time.monotonic() - began < polling.LONGEST
    drain(database)


# --- who asks


def test_another_one_asks_when_the_first_goes(database, beside):
    first, second = (enqueued(database, effects.act) for _ in range(2))
    beside.do(lambda: gather(first, until="settled", timeout=30))
    until(lambda: len(polls()) == 1)
    begin(beside, second)
    first.expire()
    until(lambda: len(polls()) == 1)
    second.expire()
    beside.close()


def test_one_whose_connection_is_lost_raises_it_and_another_one_asks(database, beside, monkeypatch):
    find, threads = outcomes.find, []

    def lose(*args):
        if threading.current_thread() in threads:
            raise OperationalError("server closed the connection")
        return find(*args)

    def lost():
        with pytest.raises(OperationalError):
            enqueued(database, effects.act).result(30)

    beside.do(lost)
    until(lambda: len(polls()) == 1)
    attempt = enqueued(database, effects.act)
    begin(beside, attempt)
    monkeypatch.setattr(polling, "find", lose)
    threads.append(beside._threads[0])
    until(lambda: len(polls()) == 1)
    attempt.expire()
    beside.close()


def test_others_make_up_for_one_whose_look_takes_too_long(database, beside, monkeypatch):
    find, threads, go_on = outcomes.find, [], threading.Event()

    def hang(*args):
        if threading.current_thread() in threads:
            assert go_on.wait(30)
        return find(*args)

    monkeypatch.setattr(polling, "find", hang)
    first, second = (enqueued(database, effects.act) for _ in range(2))
    begin(beside, first)
    threads += beside._threads

    def expire_later():
        # By then the second has had the look of its own.
        time.sleep(0.3)
        second.expire()

    beside.do(expire_later)
    began = time.monotonic()
    with pytest.raises(AttemptExpired):
        second.result(10)
    assert time.monotonic() - began < 5
    first.expire()
    go_on.set()
    beside.close()


def test_a_thread_that_a_coroutine_needs_may_wait_itself(database, beside):
    first, second = (enqueued(database, effects.act, options=KEEP) for _ in range(2))

    async def both():
        waiting = asyncio.create_task(first.aresult(30))
        await asyncio.sleep(0.2)
        # Its looks are done in the thread that this one keeps busy.
        await sync_to_async(second.result)(30)
        await waiting

    beside.do(async_to_sync(both))
    until(lambda: len(polls()) == 2)
    drain(database)
    beside.close()


@pytest.mark.only("postgresql", reason="a table of one connection only")
def test_what_another_connection_does_not_see_is_asked_for_by_ones_own(database, beside):
    mine, hers = (enqueued(database, effects.act, options=KEEP) for _ in range(2))
    table = Attempt._meta.db_table

    def see_only_mine():
        with connections[database].cursor() as cursor:
            only = f"SELECT * FROM {table} WHERE id = %s"
            cursor.execute(f"CREATE TEMP TABLE {table} AS {only}", [mine.pk])
        with pytest.raises(TimeoutError, match="is pending"):
            mine.result(2)

    beside.do(see_only_mine)
    until(polls)
    beside.drain(database)
    assert hers.result(30) is None
    beside.close()


def test_the_block_of_a_test_case_is_its_own(database, beside):
    """Others don't see its rows, and it doesn't ask for theirs."""
    attempt = enqueued(database, effects.act)
    begin(beside, attempt)
    block = transaction.atomic(database)
    block._from_testcase = True
    with block:
        mine = enqueued(database, effects.act)
        with pytest.raises(TimeoutError, match="is pending"):
            mine.result(0.1)
        transaction.set_rollback(True, database)
    attempt.expire()
    beside.close()


# --- nothing is left behind


def test_a_coroutine_that_is_cancelled_leaves(database):
    attempt = enqueued(database, effects.act)

    async def cancelled(after):
        with suppress(TimeoutError):
            async with asyncio.timeout(after):
                await attempt.aresult()

    # At any moment: before its first look, during it, and while it waits.
    for after in (0, 0.0005, 0.001, 0.002, 0.004, 0.1):
        async_to_sync(cancelled)(after)
        until(lambda: not polls())


def test_a_target_that_is_timed_out_while_it_waits_leaves_nothing(database, acting, beside):
    """Wherever in its thread that is raised; and others are answered as soon as ever."""
    other = enqueued(database, effects.act_by_mail, options={"scheduled_at": timedelta(days=1)})
    acting(other.result)
    begin(beside, other)
    targets = [
        enqueued(database, effects.act, options={"timeout": 0.2 + number / 1000})
        for number in range(20)
    ]
    drain_in_threads(database, threads=10)
    assert [stored(one).failures.get().kind for one in targets] == ["timeout"] * 20
    assert len(polls()) == 1
    other.expire()
    beside.close()


def test_one_that_ends_without_leaving_is_forgotten(database, monkeypatch):
    """Thrown out of `leave`, say."""
    attempt = enqueued(database, effects.act)
    with monkeypatch.context() as patch:
        patch.setattr(polling.Poll, "leave", raising(KeyboardInterrupt()))
        with suppress(KeyboardInterrupt):
            attempt.result(0)
    gc.collect()
    assert not polls()


def test_a_fork_waits_for_nobody(database, beside):
    attempt = enqueued(database, effects.act)
    begin(beside, attempt)
    pid = os.fork()
    if not pid:
        os._exit(len(polls()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(polls()) == 1
    attempt.expire()


# --- several databases


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
def test_each_of_two_databases_is_asked_for_its_own(asked, beside):
    def on(alias):
        return call(flows.fetch, alias).using(database=alias, keep_result=True).enqueue()

    attempts, other = [on("default"), on("postgresql")], on("postgresql")
    answers = []
    beside.do(lambda: answers.append(gather(*attempts, timeout=30)))
    until(lambda: len(polls()) == 2)
    begin(beside, other)
    beside.drain("default")
    time.sleep(2 * polling.LONGEST)
    assert not answers
    beside.drain("postgresql")
    beside.close()
    assert answers == [["default", "postgresql"]]
