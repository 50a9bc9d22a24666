"""What a worker claimed and never heard of is given back, however its claim failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError, connections

from async_attempts import Attempt, call
from async_attempts.models import Worker
from async_attempts.store import Unknown, store_for
from async_attempts.worker.loop.claim_loop import Loop
from tests.shop import effects
from tests.store.conftest import sessions
from tests.worker.helpers.attempts import drain, enqueued, stored
from tests.worker.loop.test_enduring import work_until_performed

__all__ = ["sessions"]

TWO = ("default", "emails")


@contextmanager
def cancelled_claims_of(
    database: str, queue: str, *, before: Callable[[], None] = lambda: None
) -> Iterator[list[str]]:
    """The server cancels the first claim of a queue, as by `statement_timeout`, `before` that."""
    cancelled: list[str] = []

    def cancel(execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        given = params.values() if isinstance(params, dict) else params or ()
        is_claim = "num_crashes = 0" in sql and "ORDER BY" in sql
        if is_claim and queue in given and not cancelled:
            cancelled.append(sql)
            before()
            raise OperationalError("canceling statement due to user request")
        return execute(sql, params, many, context)

    with connections[database].execute_wrapper(cancel):
        yield cancelled


def test_a_drain_whose_second_claim_is_cancelled_leaves_nothing_claimed(database):
    first = enqueued(database, effects.record)
    call(effects.record).using(database=database, queue="emails").enqueue()
    with cancelled_claims_of(database, "emails") as cancelled, pytest.raises(CommandError):
        drain(database)
    assert cancelled
    first = stored(first)
    assert (first.state, first.claimed_by, first.num_attempts) == ("pending", None, 0)
    assert {worker.state for worker in Worker.objects.using(database)} == {"stopped"}
    drain(database)
    assert stored(first).status == "succeeded"


def test_a_worker_that_goes_on_gives_back_what_it_never_took_in_flight(database, monkeypatch):
    attempt = enqueued(database, effects.record)
    other = call(effects.record).using(database=database, queue="emails").enqueue()
    monkeypatch.setattr(effects, "seen", [])
    with cancelled_claims_of(database, "emails"):
        work_until_performed(database, 2, TWO)
    assert {stored(one).status for one in (attempt, other)} == {"succeeded"}
    assert {stored(one).num_attempts for one in (attempt, other)} == {1}


def test_a_worker_that_cannot_give_it_back_says_no_goodbye(database, monkeypatch):
    """Its lease runs out then, and another one takes back what it holds."""
    enqueued(database, effects.record)
    call(effects.record).using(database=database, queue="emails").enqueue()
    monkeypatch.setattr(store_for(database), "release_unknown", lambda *_: Unknown.LOCKED)
    monkeypatch.setattr(Loop, "_rest", lambda *_: None)
    with cancelled_claims_of(database, "emails"), pytest.raises(CommandError):
        drain(database)
    assert {worker.state for worker in Worker.objects.using(database)} == {"live"}


@pytest.mark.only("postgresql", "mariadb", reason="SQLite locks no rows")
def test_others_are_claimed_while_somebody_locks_what_is_to_be_given_back(database, sessions):
    first = enqueued(database, effects.record)
    target = call(effects.record).using(database=database, queue="emails")
    others = [target.enqueue() for _ in range(2)]
    somebody = sessions()

    def lock() -> None:
        somebody.begin()
        rows = Attempt.objects.using(database).select_for_update()
        somebody.do(lambda: rows.get(pk=first.pk))

    with cancelled_claims_of(database, "emails", before=lock):
        work_until_performed(database, 2, TWO)
    assert {stored(one).status for one in others} == {"succeeded"}
    assert stored(first).state == "running"
    assert {worker.state for worker in Worker.objects.using(database)} == {"live"}
    somebody.rollback()
