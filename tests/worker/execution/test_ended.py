"""The signal `ended`: it tells of every end, whoever records it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from async_attempts import Attempt, Expire, Fail, signals
from tests.shop import effects, follow_ups
from tests.worker.helpers.attempts import drain, enqueued, stored
from tests.worker.helpers.ends import (
    be_overdue,
    cancel,
    come_too_late,
    fail_all,
    lose_its_worker,
)
from tests.worker.helpers.executing import drain_in_threads


@pytest.fixture
def told() -> Iterator[list[tuple[str, str, list[UUID]]]]:
    """What receivers of `ended` were told: database, status, ids."""
    told = []

    def tell(database: str, status: str, attempt_ids: list[UUID], **_: Any) -> None:
        told.append((database, status, sorted(attempt_ids)))

    signals.ended.connect(tell)
    yield told
    signals.ended.disconnect(tell)


@pytest.mark.parametrize("perform", [drain, drain_in_threads])
def test_one_signal_tells_of_every_end_in_a_workers_hand(database, acting, told, perform):
    def act(number: int) -> None:
        if number:
            raise [Fail, Expire][number - 1]("no stock")

    acting(act)
    attempts = [enqueued(database, follow_ups.deliver, n) for n in range(3)]
    perform(database)
    statuses = {pk: status for _, status, ids in told for pk in ids}
    assert {alias for alias, _, _ in told} == {database}
    assert [statuses[attempt.pk] for attempt in attempts] == ["succeeded", "failed", "expired"]
    assert sum(len(ids) for _, _, ids in told) == 5
    assert Attempt.objects.using(database).count() == 5


def test_one_signal_tells_of_successes_and_atomic_ones(database, told):
    attempts = [enqueued(database, effects.act) for _ in range(3)]
    attempts += [enqueued(database, effects.act_atomically)]
    drain(database)
    assert sorted(pk for _, _, ids in told for pk in ids) == [attempt.pk for attempt in attempts]
    assert {status for _, status, _ in told} == {"succeeded"}


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (fail_all, "failed"),
        (cancel, "expired"),
        (come_too_late, "expired"),
        (be_overdue, "expired"),
        (lose_its_worker, "failed"),
    ],
)
def test_one_signal_tells_of_every_end_whoever_records_it(database, told, end, status):
    attempt = enqueued(database, effects.act)
    end(attempt)
    assert told == [(database, status, [attempt.pk])]


def test_nobody_is_told_of_an_end_that_was_rolled_back(database, told):
    attempt = enqueued(database, effects.act)
    with transaction.atomic(database):
        attempt.fail("no stock")
        transaction.set_rollback(True, database)
    assert told == []


def test_what_a_receiver_raises_reaches_nobody(database, acting):
    def fail_to_listen(**_: Any) -> None:
        raise RuntimeError

    signals.ended.connect(fail_to_listen)
    try:
        attempts = [enqueued(database, effects.act) for _ in range(2)]
        drain(database)
        other = enqueued(database, effects.act)
        other.fail("no stock")
    finally:
        signals.ended.disconnect(fail_to_listen)
    states = [stored(attempt).status for attempt in (*attempts, other)]
    assert states == ["succeeded", "succeeded", "failed"]
