"""Watching how an attempt gets on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from django.db import connections, transaction

from async_attempts import Attempt, Progress, WaitingInTransaction, current_attempt
from async_attempts.models import DatabaseNow
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, performed, put, raising
from tests.worker.helpers.executing import drain_in_threads

AT_FIRST = Progress(None, "", "pending")


def watched(
    attempt: Attempt,
    seen: Callable[[Progress], object] = bool,
    timeout: float = 30,
) -> list[Progress]:
    """What there was to be seen until it had ended."""
    told: list[Progress] = []

    async def watch() -> None:
        async for progress in attempt.watch(timeout):
            told.append(progress)
            seen(progress)

    async_to_sync(watch)()
    return told


def test_every_step_is_seen_until_the_attempt_has_ended(database, acting, beside):
    go_on = threading.Semaphore(0)
    steps = [(10, "begun"), (10, "going on"), (90, "nearly")]

    def work() -> None:
        for percent, note in steps:
            current_attempt().set_progress(percent, note)
            assert go_on.acquire(timeout=10)

    acting(work)
    attempt = enqueued(database, effects.act)

    def seen(progress: Progress) -> None:
        if progress == AT_FIRST:
            beside.do(drain_in_threads, database)
        elif progress.note:
            go_on.release()

    told = watched(attempt, seen)
    assert told[0] == AT_FIRST
    # The step between is only seen by who looks at the right moment.
    rest = [progress for progress in told[1:] if progress != Progress(None, "", "running")]
    assert rest == [
        *(Progress(percent, note, "running") for percent, note in steps),
        Progress(90, "nearly", "succeeded"),
    ]
    assert [progress.is_over for progress in rest] == [False, False, False, True]


def test_what_has_ended_is_told_at_once(database, acting):
    acting(raising(ValueError()))
    attempt = performed(database, effects.act, options={"max_attempts": 1})
    assert watched(attempt, timeout=0) == [Progress(None, "", "failed")]


def test_what_is_deleted_is_gone(database):
    attempt = enqueued(database, effects.act)
    put(attempt, progress=30, progress_note="thirty")
    rows = Attempt.objects.using(database).filter(pk=attempt.pk)

    def delete(progress: Progress) -> None:
        def work() -> None:
            rows._raw_delete(database)
            connections.close_all()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    told = watched(attempt, lambda progress: None if progress.is_over else delete(progress))
    assert told == [Progress(30, "thirty", "pending"), Progress(30, "thirty", "gone")]


def test_the_timeout_is_for_the_whole_watch(database):
    attempt = enqueued(database, effects.act)
    with pytest.raises(TimeoutError, match=rf"After 0\.05 s .*act {attempt.pk} is pending"):
        watched(attempt, timeout=0.05)


def test_watching_within_an_atomic_block_is_refused_at_once(database):
    attempt = enqueued(database, effects.act)
    with transaction.atomic(database), pytest.raises(WaitingInTransaction):
        watched(attempt)


def test_who_watches_may_leave(database):
    attempt = enqueued(database, effects.act)

    async def leave() -> Progress:
        watching = attempt.watch()
        try:
            return await anext(watching)
        finally:
            await watching.aclose()

    assert async_to_sync(leave)() == AT_FIRST
    put(attempt, status="expired", completed_at=DatabaseNow())
    assert async_to_sync(leave)() == Progress(None, "", "expired")
