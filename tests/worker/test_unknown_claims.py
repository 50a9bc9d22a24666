"""What a worker claimed and never heard of is given back, however its claim failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import OperationalError, connections

from async_attempts import call
from async_attempts.models import Worker
from async_attempts.store import store_for
from async_attempts.worker.loop import Loop
from tests.shop import effects
from tests.worker.attempts import drain, enqueued, stored
from tests.worker.test_enduring import work_until_performed

TWO = ("default", "emails")


@contextmanager
def cancelled_claims_of(database: str, queue: str, times: int = 1) -> Iterator[list[str]]:
    """The server cancels the claims of a queue, as by `statement_timeout`: so many of them."""
    cancelled: list[str] = []

    def cancel(execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        given = params.values() if isinstance(params, dict) else params or ()
        is_claim = "num_crashes = 0" in sql and "ORDER BY" in sql
        if is_claim and queue in given and len(cancelled) < times:
            cancelled.append(sql)
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


def test_a_worker_that_goes_on_gives_back_what_it_never_took_in_hand(database, monkeypatch):
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
    monkeypatch.setattr(store_for(database), "release_unknown", lambda *_: False)
    monkeypatch.setattr(Loop, "_rest", lambda *_: None)
    with cancelled_claims_of(database, "emails"), pytest.raises(CommandError):
        drain(database)
    assert {worker.state for worker in Worker.objects.using(database)} == {"live"}
