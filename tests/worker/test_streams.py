"""Streams: at most so many attempts live at once, and begun anew after a crash by their token."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction
from django.test import TestCase

from async_attempts import (
    Attempt,
    InvalidArguments,
    InvalidOption,
    Streamed,
    WaitingInTransaction,
    aenqueue_stream,
    call,
    enqueue,
    enqueue_stream,
)
from async_attempts.lifecycle import LIVE
from tests.shop import clients, effects
from tests.worker.helpers.attempts import drain, stored
from tests.worker.helpers.processes import lines, until

TOKEN = "import-2026-11"


def rows(database):
    return Attempt.objects.using(database)


def greeted(n):
    return call(clients.greet, n)


def itself(made):
    return made


def numbers(database):
    """The items that were enqueued, in the order in which they were."""
    return [row.method_args[0] for row in rows(database).order_by("id")]


class Observed:
    """An iterable of numbers; before each, notes how many attempts are live."""

    def __init__(self, database: str, number: int) -> None:
        self.database, self.number = database, number
        self.live: list[int] = []

    def __iter__(self) -> Iterator[int]:
        for n in range(self.number):
            self.live.append(rows(self.database).filter(status__in=LIVE).count())
            yield n


@contextmanager
def performing(database):
    """Somebody who performs what there is, again and again."""
    over = threading.Event()

    def perform():
        try:
            while not over.is_set():
                drain(database)
                time.sleep(0.02)
        finally:
            connections.close_all()

    thread = threading.Thread(target=perform)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_no_more_than_in_flight_are_live_at_once(database):
    items = Observed(database, 40)
    with performing(database):
        streamed = enqueue_stream(greeted, items, 5, database=database, timeout=60)
    assert streamed == Streamed(enqueued=40)
    assert numbers(database) == list(range(40))
    assert max(items.live) <= 5
    assert rows(database).filter(status__in=LIVE).count() <= 5


def test_it_returns_when_the_last_is_enqueued_not_performed(database):
    assert enqueue_stream(greeted, range(10), 10, database=database) == Streamed(10)
    assert rows(database).filter(status="pending").count() == 10


def test_a_hundred_are_written_at_a_time(database):
    items = Observed(database, 205)
    enqueue_stream(greeted, items, 1000, database=database)
    assert items.live == [0] * 100 + [100] * 100 + [200] * 5
    assert numbers(database) == list(range(205))


def test_nothing_is_nothing(database):
    assert enqueue_stream(greeted, [], database=database) == Streamed()


def test_it_waits_for_what_has_not_ended_and_gives_up_in_time(database):
    with pytest.raises(TimeoutError, match=r"come to item 3, and 3 attempts haven't ended"):
        enqueue_stream(greeted, range(10), 3, database=database, timeout=0.1)
    assert numbers(database) == [0, 1, 2]


def test_what_is_to_be_retried_is_in_flight(database, acting):
    def raise_it(n):
        raise LookupError

    acting(raise_it)
    stream = partial(enqueue_stream, partial(call, effects.act), token=TOKEN, database=database)
    assert stream([0], 1).enqueued == 1
    drain(database)
    assert rows(database).get().state == "scheduled"
    with pytest.raises(TimeoutError, match=r"come to item 1, and 1 attempts haven't ended"):
        stream([0, 1], 1, timeout=0.1)
    assert numbers(database) == [0]


@pytest.fixture
def bounded(settings):
    """The default queue takes three at a time."""
    queues = {"default": {"max_pending": 3}, "emails": {}, "fulfilment": {}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}


@pytest.mark.usefixtures("bounded")
def test_it_waits_for_room_in_a_full_queue(database):
    with performing(database):
        streamed = enqueue_stream(greeted, range(20), database=database, timeout=60)
    assert streamed == Streamed(20)
    assert numbers(database) == [*range(20)]


@pytest.mark.usefixtures("bounded")
def test_a_full_queue_that_nobody_empties_ends_it_in_time(database):
    with pytest.raises(TimeoutError, match=r"come to item \d+, and 3 attempts haven't ended"):
        enqueue_stream(greeted, range(20), database=database, timeout=0.3)
    assert numbers(database) == [0, 1, 2]
    streamed = async_to_sync(aenqueue_stream)
    rows(database).filter(status="pending").expire()
    assert streamed(greeted, range(3), database=database) == Streamed(3)


def test_what_was_deleted_has_ended(database):
    def items():
        yield 0
        rows(database).all().delete()
        yield 1

    assert enqueue_stream(greeted, items(), 1, database=database, timeout=30).enqueued == 2
    assert numbers(database) == [1]


# --- again


def test_after_a_crash_each_is_enqueued_once(database):
    def breaking():
        yield from range(25)
        raise LookupError

    stream = partial(enqueue_stream, greeted, token=TOKEN, database=database)
    with pytest.raises(LookupError):
        stream(breaking())
    assert numbers(database) == list(range(25))
    drain(database)
    assert stream(range(60)) == Streamed(enqueued=35, found=25)
    assert numbers(database) == list(range(60))
    assert stream(range(60)) == Streamed(enqueued=0, found=60)


def test_what_is_live_since_before_the_crash_is_in_flight(database):
    stream = partial(enqueue_stream, greeted, token=TOKEN, database=database)
    assert stream(range(4), 4).enqueued == 4
    with pytest.raises(TimeoutError):
        stream(range(8), 4, timeout=0.1)
    assert numbers(database) == [0, 1, 2, 3]
    drain(database)
    assert stream(range(8), 4, timeout=30) == Streamed(enqueued=4, found=4)


def test_found_are_those_too_that_somebody_else_enqueues_now(database):
    """Once nothing is found nobody looks any more, but the tokens hold."""
    taken = call(clients.greet, 7).using(database=database, idempotence_token=f"{TOKEN}:7")
    attempt = taken.enqueue()
    streamed = enqueue_stream(greeted, range(9), token=TOKEN, database=database)
    assert streamed == Streamed(enqueued=8, found=1)
    assert stored(attempt).created_at == attempt.created_at
    assert sorted(numbers(database)) == list(range(9))


def test_finding_takes_a_statement_for_many(database, django_assert_max_num_queries):
    stream = partial(enqueue_stream, greeted, range(500), 500, token=TOKEN, database=database)
    stream()
    with django_assert_max_num_queries(40, using=database):
        assert stream() == Streamed(enqueued=0, found=500)


def writing(path, _):
    return call(effects.write, str(path))


def write_for_ever(database, path, began):
    """The stream of a process that is killed."""

    def items():
        for n in range(10_000):
            if n == 30:
                began.touch()
            yield n

    enqueue_stream(partial(writing, path), items(), 10, token=TOKEN, database=database)


def test_after_a_kill_each_is_performed_once(database, workers, tmp_path):
    path, began = tmp_path / "performed", tmp_path / "began"
    worker = workers.start("--database", database, "--processes", "1")
    process = workers.run(partial(write_for_ever, database, path, began))
    until(began.exists, worker)
    process.kill()
    before = rows(database).count()
    # Of those that were taken up to nine waited for the rest of their batch.
    assert 21 <= before < 10_000
    wanted = before + 50
    stream = partial(enqueue_stream, partial(writing, path), token=TOKEN, database=database)
    streamed = stream(range(wanted), 10, timeout=60)
    # What was on its way when the process was killed may have come later.
    assert before <= streamed.found < wanted == streamed.found + streamed.enqueued
    until(lambda: len(lines(path)) >= wanted, worker)
    assert rows(database).count() == wanted
    assert len({attempt for attempt, *_ in lines(path)}) == len(lines(path)) == wanted


def test_a_queue_that_forgets_can_not_be_begun_anew(database, settings):
    queues = {"default": {}, "emails": {"keep": {"succeeded": 0}}}
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "QUEUES": queues}
    stream = partial(enqueue_stream, database=database)
    for forgetful in (call(effects.act_by_mail), greeted(1).using(queue="emails")):
        with pytest.raises(InvalidOption, match=r"^token: the queue 'emails' keeps no successes"):
            stream(itself, [forgetful], token=TOKEN)
        assert stream(itself, [forgetful]).enqueued == 1
    assert stream(itself, [greeted(1)], token=TOKEN).enqueued == 1


@pytest.mark.parametrize("status", ["succeeded", "expired", "failed"])
def test_a_queue_that_keeps_a_number_can_not_be_begun_anew(database, settings, status):
    keep = {status: {"age": 3600, "count": 2}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {
        "QUEUES": {"default": {}, "emails": {"keep": keep}}
    }
    stream = partial(enqueue_stream, database=database)
    mail = greeted(1).using(queue="emails")
    match = rf"^token: the queue 'emails' keeps only a number of what has {status} \(count\)"
    with pytest.raises(InvalidOption, match=match):
        stream(itself, [mail], token=TOKEN)
    assert stream(itself, [mail]).enqueued == 1
    assert stream(itself, [greeted(1)], token=TOKEN).enqueued == 1
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"KEEP": keep}
    with pytest.raises(InvalidOption, match=r"^token: the queue 'default' keeps only a number"):
        stream(greeted, [1], token=TOKEN)


@pytest.mark.parametrize(("age", "warnings"), [(0.05, 1), (3600, 0)])
def test_a_stream_that_outlasts_its_memory_says_so_once(database, settings, caplog, age, warnings):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"KEEP": {"succeeded": age}}

    def slow():
        for n in range(4):
            yield n
            time.sleep(0.06)

    assert enqueue_stream(greeted, slow(), database=database, token=TOKEN).enqueued == 4
    told = [record.getMessage() for record in caplog.records]
    assert sum("begun again it would enqueue its first items again" in line for line in told) == (
        warnings
    )


# --- what is wrong


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_flight": 0}, "in_flight: must be a whole number, 1 or more, not 0"),
        ({"in_flight": True}, "in_flight: "),
        ({"token": "x" * 181}, "token: must have at most 180 characters"),
        ({"token": ""}, "idempotence_token: must be a string"),
        ({"timeout": -1}, "timeout: must be seconds"),
    ],
)
def test_options_that_are_wrong_are_named(database, options, message):
    with pytest.raises(InvalidOption, match=message):
        enqueue_stream(greeted, [1], database=database, **options)
    assert not rows(database).exists()


def broken(n, error):
    if n == 13:
        raise error
    return greeted(n)


def test_what_the_factory_raises_is_told_with_the_items_place(database):
    with pytest.raises(LookupError) as raised:
        enqueue_stream(partial(broken, error=LookupError()), range(20), database=database)
    assert raised.value.__notes__ == ["This was item 13 of the stream."]
    assert numbers(database) == list(range(13))


def test_what_is_no_call_is_told_with_the_items_place(database):
    with pytest.raises(InvalidOption, match="it returned int for item 0; return call"):
        enqueue_stream(itself, range(20), database=database)


def test_what_can_not_be_enqueued_is_told_with_the_items_place(database):
    def made(n):
        return greeted(object() if n == 13 else n)

    with pytest.raises(InvalidArguments) as raised:
        enqueue_stream(made, range(20), database=database)
    assert raised.value.__notes__ == ["This was item 13 of the stream."]
    assert numbers(database) == list(range(13))


def test_a_token_of_its_own_and_the_streams_are_one_too_many(database):
    def made(n):
        return greeted(n).using(idempotence_token=f"own-{n}")

    with pytest.raises(InvalidOption, match="token: item 0 has an idempotence token of its own"):
        enqueue_stream(made, [1], token=TOKEN, database=database)
    assert enqueue_stream(made, [1, 2], database=database) == Streamed(2)
    assert enqueue_stream(made, [1, 2, 3], database=database) == Streamed(1, 2)


def test_all_go_to_one_database(database):
    elsewhere = "elsewhere"
    with pytest.raises(InvalidOption, match=r"database: item 0 goes to 'elsewhere', .*database='e"):
        enqueue_stream(lambda n: greeted(n).using(database=elsewhere), [1], database=database)


def test_in_a_transaction_it_would_wait_for_ever(database):
    with transaction.atomic(database):
        with pytest.raises(WaitingInTransaction, match="Leave the atomic block"):
            enqueue_stream(greeted, [1], database=database)
        enqueue(clients.greet, 1) if database == "default" else None
    assert rows(database).count() == (database == "default")


class Within(TestCase):
    """A test's own transaction is nobody's."""

    def test_it_enqueues(self):
        assert enqueue_stream(greeted, range(3)) == Streamed(3)
        assert async_to_sync(aenqueue_stream)(greeted, range(3)) == Streamed(3)
        with transaction.atomic(), pytest.raises(WaitingInTransaction):
            enqueue_stream(greeted, range(3))


# --- async


async def each(number, error=None):
    for n in range(number):
        await asyncio.sleep(0)
        yield n
    if error is not None:
        raise error


def test_an_asynchronous_iterable(database):
    with performing(database):
        streamed = async_to_sync(aenqueue_stream)(
            greeted, each(20), 5, database=database, timeout=60
        )
    assert streamed == Streamed(20)
    assert numbers(database) == list(range(20))


def test_it_is_begun_anew_by_its_token_too(database):
    stream = async_to_sync(partial(aenqueue_stream, greeted, token=TOKEN, database=database))
    with pytest.raises(LookupError):
        stream(each(7, LookupError()))
    assert numbers(database) == list(range(7))
    assert stream(range(9)) == Streamed(enqueued=2, found=7)


def test_it_waits_without_holding_up_the_event_loop(database):
    async def both():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.ensure_future(tick())
        with pytest.raises(TimeoutError):
            await aenqueue_stream(greeted, each(9), 2, database=database, timeout=0.3)
        ticking.cancel()
        return ticks

    assert async_to_sync(both)() >= 5
    assert numbers(database) == [0, 1]


@pytest.mark.only("sqlite", reason="nothing is enqueued")
def test_ordinary_code_can_not_have_an_asynchronous_one(database):
    with pytest.raises(InvalidOption, match="use aenqueue_stream"):
        enqueue_stream(greeted, each(3), database=database)
