"""In a child, what a project's code hears of it hears in a thread of its own, and in order."""

from __future__ import annotations

import logging
import signal
import threading
import time
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from django.db import connections

from async_attempts import signals
from async_attempts.calls import call, enqueue_many
from async_attempts.exceptions import WorkerLost
from async_attempts.models import Attempt, Worker
from async_attempts.worker.execution.announcer import MOST, InThreads
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, raising, states, stored
from tests.worker.helpers.processes import lines, until

HOOK = "tests.worker.execution.test_announcer.hook"


@pytest.fixture
def announcer():
    """One whose hooks may hang: none outlives the test."""
    announcer, go = InThreads(), threading.Event()
    yield announcer, go
    go.set()
    announcer.close(30)


def test_a_hook_that_hangs_holds_up_neither_its_caller_nor_the_log(announcer, caplog):
    caplog.set_level(logging.INFO, "async_attempts")
    announcer, go = announcer
    announcer.call(go.wait)
    worker = Worker(queues=["emails"], host="h", pid=1)
    for _ in range(3):
        announcer.announce(signals.worker_stopped, Worker, worker=worker)
    until(lambda: len(caplog.records) == 3)
    assert not go.is_set()


def test_everything_is_told_in_order_and_before_the_end(caplog):
    caplog.set_level(logging.INFO, "async_attempts")
    announcer = InThreads()
    heard: list[object] = []
    hear = partial(lambda heard, worker, **_: heard.append(worker.name), heard)
    signals.worker_started.connect(hear)
    try:
        for number in range(50):
            worker = Worker(name=str(number), queues=["default"], host="h", pid=number)
            announcer.announce(signals.worker_started, Worker, worker=worker)
            announcer.call(partial(heard.append, f"hook {number}"))
        announcer.close(30)
    finally:
        signals.worker_started.disconnect(hear)
    assert heard == [f"{word}{n}" for n in range(50) for word in ("", "hook ")]
    assert len([r for r in caplog.records if "started" in r.getMessage()]) == 50


def test_no_hook_is_called_in_the_thread_that_announces():
    announcer = InThreads()
    threads: list[int] = []
    announcer.call(lambda: threads.append(threading.get_ident()))
    announcer.close(30)
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


def test_where_no_thread_can_be_had_nothing_is_raised_and_the_next_one_tries_again(monkeypatch):
    announcer = InThreads()
    told: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
        announcer.call(lambda: told.append(1))
    announcer.call(lambda: told.append(2))
    announcer.close(30)
    assert told == [1, 2]


@pytest.mark.parametrize("broken", [ValueError(), SystemExit(1), KeyboardInterrupt()])
def test_what_a_hook_raises_ends_nothing(caplog, broken):
    def hook():
        raise broken

    announcer = InThreads()
    heard: list[object] = []
    announcer.call(hook)
    announcer.call(partial(heard.append, 1))
    announcer.close(30)
    assert heard == [1]
    assert f"raised {type(broken).__name__}" in caplog.text


def test_what_is_too_much_is_left_out_and_that_is_told(announcer, caplog):
    announcer, go = announcer
    heard: list[object] = []
    began = threading.Event()

    def hang():
        began.set()
        go.wait()

    announcer.call(hang)
    assert began.wait(30)
    for number in range(2 * MOST):
        announcer.call(partial(heard.append, number))
    go.set()
    announcer.close(30)
    assert heard == list(range(MOST))
    told = [r.getMessage() for r in caplog.records]
    numbers = [int(text.split(": ")[1].split()[0]) for text in told]
    assert sum(numbers) == MOST
    assert len(numbers) == 2


def test_the_end_waits_for_a_hook_that_hangs_only_so_long(announcer, caplog):
    announcer, go = announcer
    announcer.call(go.wait)
    announcer.call(go.wait)
    began = time.monotonic()
    announcer.close(0.2)
    assert time.monotonic() - began < 20
    assert "2 calls of them were left out" in caplog.text


def test_nothing_is_started_for_what_nobody_hears():
    before = threading.active_count()
    announcer = InThreads()
    announcer.announce(signals.succeeded, Worker, claim=None, outcome=None, exception=None)
    announcer.close(30)
    assert threading.active_count() == before


def test_a_hook_leaves_no_connection_and_no_block_to_the_next_one(database):
    announcer, found = InThreads(), []

    queued = threading.Event()

    def leave_a_block_open():
        assert queued.wait(30)
        connections[database].set_autocommit(False)
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT 1")

    def look():
        found.append(connections[database].get_autocommit())

    announcer.call(leave_a_block_open)
    announcer.call(look)
    queued.set()
    announcer.close(30)
    assert found == [True]


def hook(attempt: Attempt, error: BaseException) -> None:
    """What ON_ERROR names in these workers; each of them replaces it."""


def hang_in_the_hook(told: Path) -> None:
    def hook(attempt: Attempt, error: BaseException) -> None:
        with told.open("a") as file:
            file.write(f"{type(error).__name__}\n")
        time.sleep(3600)

    mock.patch(HOOK, hook).start()


def hang_in_receivers(told: Path) -> None:
    def hear(**kwargs: object) -> None:
        with told.open("a") as file:
            file.write("heard\n")
        time.sleep(3600)

    for one in (signals.retried, signals.succeeded, signals.worker_started, signals.expired):
        one.connect(hear, weak=False)


@pytest.mark.slow
@pytest.mark.parametrize("prepare", [hang_in_the_hook, hang_in_receivers])
def test_hooks_that_never_come_back_hold_up_no_outcome_and_no_end(
    database, workers, tmp_path, prepare
):
    workers.settings["ON_ERROR"] = HOOK
    told = tmp_path / "told"
    enqueue_many(
        call(target).using(database=database, max_attempts=2)
        for _ in range(40)
        for target in (effects.fail_at_once, effects.record)
    )
    worker = workers.start(
        "--shutdown-timeout=2", f"--database={database}", prepare=partial(prepare, told)
    )
    until(lambda: sorted(states(database)) == ["scheduled"] * 40 + ["succeeded"] * 40, worker)
    assert len(lines(told)) == 1
    until(lambda: worker.output.count("did not succeed, again in") == 40, worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output
    assert not worker.group()


@pytest.mark.slow
def test_a_hook_that_hangs_after_a_crash_keeps_no_drain_for_ever(database, workers, tmp_path):
    workers.settings |= {"ON_ERROR": HOOK, "LEASE": 2}
    told = tmp_path / "told"
    attempt = enqueued(database, effects.write_and_die, str(tmp_path / "path"), 1)
    worker = workers.start(
        "--drain", f"--database={database}", prepare=partial(hang_in_the_hook, told)
    )
    assert worker.exit_code() == 0, worker.output
    assert stored(attempt).status == "succeeded"
    assert lines(told) == [[WorkerLost.__name__]]
