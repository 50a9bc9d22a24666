"""What a target says of how far it is, and what of it is written when."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import DataError, OperationalError, connections, transaction

from async_attempts import Attempt, InvalidOption, current_attempt, signals
from async_attempts.store import ProgressReport, store_for
from async_attempts.worker.execution import progress
from async_attempts.worker.execution.progress import UnwrittenProgress
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, put, raising, stored
from tests.worker.helpers.executing import drain_in_threads
from tests.worker.helpers.processes import until

TARGETS = [effects.act, effects.act_atomically]


def say(*args: Any) -> None:
    current_attempt().set_progress(*args)


def shown(attempt: Attempt) -> tuple[int | None, str]:
    """As the database has it."""
    row = stored(attempt)
    return row.progress, row.progress_note


@contextmanager
def statements(database: str) -> Iterator[list[str]]:
    """Those of this thread, in which the worker claims and records. (It clears Django's log.)"""
    sent: list[str] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        sent.append(str(sql))
        return execute(sql, params, many, context)

    with connections[database].execute_wrapper(note):
        yield sent


def writes(sent: list[str]) -> list[str]:
    """Those that wrote progress."""
    return [sql for sql in sent if sql.startswith("UPDATE") and "progress_note" in sql]


@pytest.fixture
def heard():
    """What the signal `progressed` told."""
    told: list[tuple[Any, int, str]] = []

    def hear(claim, percent, note, **kwargs):
        told.append((claim.id, percent, note))

    signals.progressed.connect(hear)
    yield told
    signals.progressed.disconnect(hear)


@pytest.mark.parametrize("target", TARGETS)
def test_the_last_word_is_written_with_the_outcome(database, acting, target):
    def work() -> None:
        for percent in range(101):
            say(percent, f"{percent} of 100")

    acting(work)
    attempt = enqueued(database, target)
    with statements(database) as sent:
        drain(database)
    assert stored(attempt).status == "succeeded"
    assert shown(attempt) == (100, "100 of 100")
    assert len(writes(sent)) == 1


@pytest.mark.parametrize("target", TARGETS)
def test_a_failed_execution_leaves_what_it_said(database, acting, target):
    def work() -> None:
        say(40, "until the stove")
        raise ValueError

    acting(work)
    attempt = performed(database, target)
    assert attempt.status == "scheduled"
    assert shown(attempt) == (40, "until the stove")


def test_who_says_nothing_costs_no_statement(database):
    attempt = enqueued(database, effects.act)
    with statements(database) as sent:
        drain(database)
    assert not any("progress" in sql for sql in sent)
    assert shown(attempt) == (None, "")


@pytest.mark.parametrize("target", [effects.act, effects.act_asynchronously])
def test_what_goes_on_is_written_at_once_and_then_twice_a_second(database, acting, target):
    seen = []

    def look_at(percent: int) -> None:
        say(percent, "looked at")
        began = time.monotonic()
        while Attempt.objects.using(database).get(pk=current_attempt().id).progress != percent:
            assert time.monotonic() < began + 10
            time.sleep(0.01)
        seen.append(time.monotonic() - began)

    def work() -> None:
        look_at(1)
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            say(50, str(time.monotonic()))
            time.sleep(0.005)
        say(99.9)

    def work_in_thread() -> None:
        work()
        connections.close_all()

    async def work_async() -> None:
        await asyncio.to_thread(work_in_thread)

    acting(work_async if target is effects.act_asynchronously else work)
    attempt = enqueued(database, target)
    with statements(database) as sent:
        drain_in_threads(database)
    assert shown(attempt) == (99, "")
    assert seen[0] < 0.5
    # At 0 s, at 0.5 s, at 1 s, and the last word.
    assert 3 <= len(writes(sent)) <= 4


def test_many_executions_are_written_together(database, acting, monkeypatch):
    together = threading.Barrier(3)

    def work(n: int) -> None:
        together.wait(10)
        say(n)
        together.wait(10)
        time.sleep(0.8)

    acting(work)
    attempts = [enqueued(database, effects.act, n) for n in (1, 2, 3)]
    sent: list[int] = []
    real = store_for(database).progress.try_to_write

    def count(said):
        sent.append(len(said))
        return real(said)

    monkeypatch.setattr(store_for(database).progress, "try_to_write", count)
    drain_in_threads(database, threads=3)
    assert [shown(attempt)[0] for attempt in attempts] == [1, 2, 3]
    assert len(sent) <= 2


@pytest.mark.only("postgresql", "mariadb", reason="SQLite locks no rows")
def test_a_target_that_holds_its_own_row_is_not_waited_for(database, acting):
    said = threading.Event()

    def work(is_other: bool) -> None:
        if is_other:
            assert said.wait(10)
            return
        with transaction.atomic(database):
            rows = Attempt.objects.using(database).select_for_update()
            rows.get(pk=current_attempt().id)
            say(10)
            # By then the one who records has tried to write that.
            time.sleep(0.6)
            said.set()
            until(lambda: stored(other).status == "succeeded")

    acting(work)
    attempt, other = (enqueued(database, effects.act, is_other) for is_other in (False, True))
    drain_in_threads(database)
    assert stored(attempt).status == "succeeded"
    assert shown(attempt) == (10, "")


@pytest.mark.only("postgresql", "mariadb", reason="SQLite locks no rows")
def test_the_last_word_is_not_lost_to_somebodys_lock(database, acting, beside):
    is_locked = threading.Event()

    def hold() -> None:
        with transaction.atomic(database):
            Attempt.objects.using(database).select_for_update().get(pk=attempt.pk)
            is_locked.set()
            time.sleep(0.3)

    def work() -> None:
        say(10)
        beside.do(hold)
        assert is_locked.wait(10)

    acting(work)
    attempt = enqueued(database, effects.act)
    drain(database)
    assert stored(attempt).status == "succeeded"
    assert shown(attempt) == (10, "")


def test_a_lost_claim_writes_nothing_and_is_forgotten(database, acting):
    store = store_for(database)
    claims = []

    def work() -> None:
        claims.append(current_attempt()._claim)
        put(attempt, claim_seq=7)
        say(10)

    acting(work)
    attempt = enqueued(database, effects.act)
    drain(database)
    assert shown(attempt) == (None, "")
    assert store.progress.try_to_write([ProgressReport(claims[0], 10, "")]) == ([], [])


def test_what_a_thread_says_after_the_end_is_not_heard(database, acting):
    later = []
    acting(lambda: later.append(current_attempt()))
    attempt = performed(database, effects.act)
    later[0].set_progress(50)
    assert shown(attempt) == (None, "")


@pytest.mark.only("sqlite", reason="this asks nothing of a database itself")
def test_the_first_word_wakes_the_one_who_writes_it(database):
    rung: list[bool] = []
    board = UnwrittenProgress(store_for(database), wake=lambda: rung.append(True))
    claim: Any = SimpleNamespace(fence=(b"1", 1))
    for percent in (1, 2, 3):
        board.say(ProgressReport(claim, percent, ""))
    assert rung == [True]


def test_the_newest_survives_an_outage(database, monkeypatch):
    board = UnwrittenProgress(store_for(database))
    claim: Any = SimpleNamespace(fence=(b"1", 1))
    written: list[ProgressReport] = []

    def fail(said):
        board.say(ProgressReport(claim, 2, "newer"))
        raise OperationalError

    def write(said):
        written.extend(said)
        return [], []

    monkeypatch.setattr(board._store.progress, "try_to_write", fail)
    board.say(ProgressReport(claim, 1, "older"))
    with pytest.raises(OperationalError):
        board.write()
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    monkeypatch.setattr(board._store.progress, "try_to_write", write)
    board.write()
    assert [said.note for said in written] == ["newer"]


def test_a_progress_that_the_database_refuses_ends_no_worker(database, acting, monkeypatch, caplog):
    monkeypatch.setattr(store_for(database).progress, "write", raising(DataError()))
    acting(lambda: say(10))
    assert performed(database, effects.act).status == "succeeded"
    assert "refuses a progress" in caplog.text


@pytest.mark.parametrize("is_last", [False, True])
def test_what_one_says_and_the_database_refuses_costs_no_other_its_progress(
    database, monkeypatch, is_last
):
    board = UnwrittenProgress(store_for(database))
    claims: list[Any] = [SimpleNamespace(fence=(bytes([n]), 1)) for n in range(3)]
    written: list[str] = []

    def write(said):
        notes = [one.note for one in said]
        if "refused" in notes:
            raise DataError
        written.extend(notes)
        return said, []

    monkeypatch.setattr(board._store.progress, "write", write)
    monkeypatch.setattr(board._store.progress, "try_to_write", write)
    for claim, note in zip(claims, ["one", "refused", "three"], strict=True):
        board.say(ProgressReport(claim, 1, note))
    if is_last:
        board.write_last(claims)
    else:
        board.write()
    assert written == ["one", "three"]


@pytest.mark.only("mariadb", reason="the others have one character set for all tables")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.usefixtures("few_characters")
def test_a_character_that_the_table_lacks_ends_no_worker(database, acting, target, caplog):
    acting(lambda: say(10, "\U0001f600"))
    attempt = performed(database, target)
    assert attempt.status == "succeeded"
    assert shown(attempt) == (None, "")
    assert "refuses a progress" in caplog.text


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ((-1,), "percent"),
        ((100.5,), "percent"),
        ((True,), "percent"),
        (("50",), "percent"),
        ((float("nan"),), "percent"),
        ((50, "x" * 256), "note must be a string of at most 255"),
        ((50, "a\0b"), "note"),
        ((50, "\ud800"), "note"),
        ((50, None), "note"),
    ],
)
def test_what_can_not_be_written_is_refused(database, acting, given, part):
    def work() -> None:
        with pytest.raises(InvalidOption, match=f"set_progress: {part}"):
            say(*given)

    acting(work)
    assert performed(database, effects.act).status == "succeeded"


@pytest.mark.parametrize("target", TARGETS)
def test_who_listens_is_told_after_the_commit(database, acting, heard, target):
    acting(lambda: say(10, "ten"))
    attempt = performed(database, target)
    assert heard == [(attempt.pk, 10, "ten")]


def test_perform_writes_it_too(database, acting):
    acting(lambda: say(30))
    attempt = enqueued(database, effects.act)
    attempt.perform()
    assert shown(attempt) == (30, "")


def test_a_persons_retry_begins_at_nothing(database, acting):
    def work() -> None:
        say(30, "thirty")
        raise ValueError

    acting(work)
    attempt = enqueued(database, effects.act, options={"max_attempts": 1})
    drain(database)
    assert shown(attempt) == (30, "thirty")
    assert failures(attempt)
    stored(attempt).retry()
    assert shown(attempt) == (None, "")


def test_a_worker_process_writes_what_its_threads_and_coroutines_say(database, workers, tmp_path):
    attempts = [
        enqueued(database, target, str(tmp_path / "go"), str(n))
        for n, target in enumerate([effects.say_and_wait, effects.say_and_wait_async])
    ]
    worker = workers.start("--database", database)
    until(lambda: [shown(a) for a in attempts] == [(10, "0"), (10, "1")], worker)
    (tmp_path / "go").touch()
    until(lambda: [shown(a) for a in attempts] == [(100, "0"), (100, "1")], worker)
