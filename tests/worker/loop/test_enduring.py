"""What a target, a hook or the database does wrong ends neither the worker nor its other work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction

from async_attempts import Backoff, Fail, Snooze, call
from async_attempts.calls import enqueue_many
from async_attempts.models import Attempt, DatabaseNow, Worker
from async_attempts.worker.execution.timeouts import NoWatch
from async_attempts.worker.loop.poller import LOCKED_PAUSE
from async_attempts.worker.processes.in_process import in_process_loop
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.wake_pipe import StopEvent
from tests.patience import PATIENCE
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, put, raising, stored
from tests.worker.helpers.executing import drain_in_threads

LATER = {"scheduled_at": timedelta(hours=1)}


class Mute:
    def __str__(self) -> str:
        raise ValueError("no words")


MUTE: Any = Mute()


class Endless(Backoff):
    def delay(self, num_attempts: int) -> float:
        return float("inf")


@contextmanager
def losing_one_answer(database: str, is_meant: Callable[[str, Any], bool]) -> Iterator[list[str]]:
    """Let one statement's answer be lost, as with the connection, after it was carried out."""
    lost: list[str] = []

    def lose(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        if not lost and is_meant(sql, params):
            lost.append(sql)
            raise OperationalError("server closed the connection unexpectedly")
        return answer

    with connections[database].execute_wrapper(lose):
        yield lost


def work_until_performed(database: str, number: int, queues: tuple[str, ...], **more: Any) -> None:
    options = Options(database=database, queues=queues, stop_after=number, **more)
    loop = in_process_loop(options, StopEvent(), NoWatch())
    guard = threading.Timer(PATIENCE, loop.stop_event.set)
    guard.start()
    try:
        loop.run()
    finally:
        guard.cancel()


@pytest.mark.only(
    "postgresql",
    reason="elsewhere a claim is a transaction, and this would undo it before it commits",
)
def test_a_claim_whose_answer_is_lost_is_given_back_and_made_again(database):
    attempt = enqueued(database, effects.record)
    with losing_one_answer(database, lambda sql, _: "num_crashes = 0" in sql) as lost:
        work_until_performed(database, 1, ("default",))
    assert lost
    attempt = stored(attempt)
    assert (attempt.status, attempt.num_attempts, attempt.claim_seq) == ("succeeded", 1, 2)


def test_what_was_claimed_from_one_queue_before_another_failed_is_given_back(database):
    queues = ("default", "emails")
    attempts = [enqueued(database, effects.record, options={"queue": queue}) for queue in queues]

    def claims_the_second(sql: str, params: Any) -> bool:
        is_held = Attempt.objects.using(database).running().exists
        return "emails" in str(params) and is_held()

    with losing_one_answer(database, claims_the_second) as lost:
        work_until_performed(database, 2, queues)
    assert lost
    for attempt in map(stored, attempts):
        assert (attempt.status, attempt.num_attempts, attempt.num_crashes) == ("succeeded", 1, 0)


def test_what_came_too_late_keeps_a_drain_from_nothing_behind_it(database):
    late = [enqueued(database, effects.record, options={"priority": "high"}) for _ in range(40)]
    for attempt in late:
        put(attempt, expires_at=DatabaseNow() - timedelta(seconds=1))
    behind = enqueued(database, effects.record)
    drain(database)
    assert stored(behind).status == "succeeded"
    assert {stored(attempt).status for attempt in late} == {"expired"}


def test_what_other_queues_have_due_keeps_a_drain_from_nothing_behind_it(database):
    other = call(effects.record).using(database=database, queue="emails", **LATER)
    enqueue_many([other] * 1_001)
    behind = enqueued(database, effects.record, options=LATER)
    rows = Attempt._base_manager.using(database)
    rows.exclude(pk=behind.pk).update(scheduled_at=DatabaseNow() - timedelta(seconds=1))
    put(behind, scheduled_at=DatabaseNow())
    drain(database, queues="default")
    assert stored(behind).status == "succeeded"


@pytest.mark.only("postgresql", "mariadb", reason="SQLite locks no rows")
def test_what_is_due_and_locked_keeps_no_worker_busy(database, monkeypatch):
    attempt = enqueued(database, effects.record, options=LATER)
    put(attempt, scheduled_at=DatabaseNow())
    locked, go = threading.Event(), threading.Event()

    def lock() -> None:
        try:
            with transaction.atomic(database):
                rows = Attempt._base_manager.using(database).select_for_update()
                rows.get(pk=attempt.pk)
                locked.set()
                go.wait(PATIENCE)
        finally:
            connections.close_all()

    waits: list[float] = []
    options = Options(database=database, queues=("default",))
    loop = in_process_loop(options, StopEvent(), NoWatch())

    def note(seconds: float, socket: int | None = None) -> None:
        waits.append(seconds)
        if seconds > 0:
            loop.stop_event.set()

    monkeypatch.setattr(loop.executor, "work", note)
    locker = threading.Thread(target=lock)
    locker.start()
    try:
        assert locked.wait(PATIENCE)
        loop.run()
    finally:
        go.set()
        locker.join()
    assert 0 < waits[-1] <= LOCKED_PAUSE


@pytest.mark.parametrize("unusual", [Fail(MUTE), Snooze(1e300)], ids=["reason", "delay"])
def test_what_a_target_asks_for_in_an_unusual_way_is_recorded(database, acting, unusual):
    acting(raising(unusual))
    attempt = performed(database, effects.act)
    assert attempt.status == "scheduled"


def test_a_backoff_without_an_end_is_cut(database, acting, monkeypatch):
    monkeypatch.setattr("async_attempts.worker.execution.retrying.DEFAULT_BACKOFF", Endless())
    acting(raising(ValueError()))
    assert performed(database, effects.act).status == "scheduled"


def test_a_target_whose_import_exits_fails(database, monkeypatch):
    attempt = enqueued(database, effects.record)
    monkeypatch.setattr("async_attempts.worker.execution.prepare.resolve", raising(SystemExit(3)))
    drain(database)
    assert [failure.error_class for failure in failures(attempt)] == ["SystemExit"]


def test_a_long_message_leaves_the_frames_in_the_record(database, acting):
    acting(raising(ValueError("x" * 50_000)))
    (failure,) = failures(performed(database, effects.act))
    assert "effects.py" in failure.traceback
    assert len(failure.message) == 8_192


def test_a_hook_that_leaves_a_transaction_open_is_cleaned_up_after(database, acting, settings):
    def leave_open(attempt: Attempt, error: BaseException) -> None:
        transaction.atomic(database).__enter__()

    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "ON_ERROR": leave_open}
    acting(raising(ValueError()))
    attempts = [enqueued(database, effects.act) for _ in range(2)]
    drain(database)
    assert {stored(attempt).status for attempt in attempts} == {"scheduled"}


def test_a_coroutine_that_a_decorator_hides_is_no_success(database, acting):
    async def hidden() -> None:
        raise AssertionError("nobody awaits this")

    acting(hidden)
    (failure,) = failures(performed(database, effects.act))
    assert failure.error_class == "TypeError"


def generate():
    yield effects.record()


async def generate_asynchronously():
    yield effects.record()


class Promised:
    """Does what it is to do when it is awaited."""

    def __await__(self):
        effects.record()
        yield


@pytest.mark.parametrize("hidden", [generate, generate_asynchronously, Promised])
@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_nor_is_what_nobody_iterates_over_or_awaits(database, acting, target, hidden):
    acting(hidden)
    (failure,) = failures(performed(database, target))
    assert failure.error_class == "TypeError"
    assert hidden.__name__ in failure.message or "generator" in failure.message
    assert effects.seen == []


@pytest.mark.parametrize("hidden", [effects.record_async, generate, generate_asynchronously])
def test_nor_is_it_when_an_async_target_returns_it(database, acting, hidden):
    async def forget_to_await() -> object:
        return hidden()

    acting(forget_to_await)
    attempt = enqueued(database, effects.act_asynchronously)
    drain_in_threads(database)
    (failure,) = failures(attempt)
    assert failure.error_class == "TypeError"
    assert effects.seen == []


def test_an_atomic_target_enqueues_once_only(database, acting):
    once = call(effects.record).using(database=database, idempotence_token="once")
    first = once.enqueue()
    acting(lambda: str(once.enqueue().pk))
    attempt = performed(database, effects.act_atomically, options={"keep_result": True})
    assert (attempt.status, attempt.stored_result) == ("succeeded", str(first.pk))


def test_the_lease_of_perform_is_renewed(database, acting, settings):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "LEASE": 0.3, "DEFAULT_TIMEOUT": 0.1}
    leases: set[Any] = set()

    def look() -> None:
        while len(leases) < 3:
            leases.add(Worker.objects.using(database).get().lease)

    acting(look)
    attempt = enqueued(database, effects.act)
    attempt.perform()
    assert attempt.status == "succeeded"
