"""What nobody claims before its `expires_at` is expired, batch by batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction
from django.test.utils import CaptureQueriesContext

from async_attempts.store.claimed import TOO_LATE
from async_attempts.store.expressions import seconds_from_now

from .rows import enqueued, every_column, one_in_each_state, put, row, states

LIVE = ("pending", "scheduled", "waiting")


def expire_all(store, limit):
    """All that is expired, and in how many batches."""
    expired, batches = [], 0
    while ids := store.retention.expire_overdue(limit):
        assert len(ids) <= limit
        expired += ids
        batches += 1
    return expired, batches


def test_only_what_is_live_unclaimed_and_past_its_time_expires(store, worker):
    late = one_in_each_state(store, worker)
    in_time, unlimited = (one_in_each_state(store, worker) for _ in range(2))
    for attempts, seconds in ((late, -1), (in_time, 3600)):
        for attempt in attempts.values():
            put(store, attempt, expires_at=seconds_from_now(seconds))
    spared = [states(store, attempts) for attempts in (in_time, unlimited)]
    expired, _ = expire_all(store, 100)
    assert {*expired} == {late[state].pk for state in LIVE}
    assert [states(store, attempts) for attempts in (in_time, unlimited)] == spared
    assert states(store, late) == {s: "expired" if s in LIVE else s for s in late}


def test_an_expired_row_says_why_and_keeps_the_rest(store):
    later = enqueued(store, scheduled_at=timedelta(hours=1), idempotence_token="once")
    now = enqueued(store, idempotence_token="now")
    for attempt in now + later:
        put(store, attempt, expires_at=seconds_from_now(-1))
    before = {columns["id"]: columns for columns in every_column(store)}
    expire_all(store, 100)
    for columns in every_column(store):
        assert columns["completed_at"] is not None
        kept = before[columns["id"]]
        changed = {"status": "expired", "reason": TOO_LATE.reason}
        assert columns == {**kept, **changed, "completed_at": columns["completed_at"]}
    # The token is the row's, as long as that is kept.
    assert [a.created for a in enqueued(store, idempotence_token="once")] == [False]


def test_what_waits_for_others_expires_too_and_what_depends_on_it(store):
    [prerequisite] = enqueued(store, scheduled_at=timedelta(hours=1))
    late, in_time, unlimited = (enqueued(store, depends_on=[prerequisite])[0] for _ in range(3))
    [last] = enqueued(store, depends_on=[late])
    put(store, late, expires_at=seconds_from_now(-1))
    put(store, in_time, expires_at=seconds_from_now(3600))
    expired, _ = expire_all(store, 2)
    assert expired == [late.pk]
    found = [row(store, one) for one in (late, in_time, unlimited, last)]
    assert [one.status for one in found] == ["expired", "waiting", "waiting", "expired"]
    assert (found[0].reason, found[0].blockers) == (TOO_LATE.reason, 0)


def test_it_can_be_retried(store):
    [attempt] = enqueued(store)
    put(store, attempt, expires_at=seconds_from_now(-1))
    expire_all(store, 100)
    store.database.attempts.filter(pk=attempt.pk).retry()
    again = row(store, attempt)
    assert (again.state, again.expires_at, again.reason) == ("pending", None, "")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_batches_find_every_one(store, limit):
    """Of several queues, priorities, moments and statuses, some rows alike in all of these."""
    wanted = set()
    for number, attempt in enumerate(enqueued(store, 24)):
        put(
            store,
            attempt,
            queue=("a", "b", "undeclared")[number % 3],
            priority=(5, -5)[number // 3 % 2],
            num_crashes=(0, 0, 0, 2)[number // 6],
            status=("pending", "scheduled", "waiting", "waiting")[number // 8 + number % 2],
            limit_key=("", "", "one", "another")[number // 6],
            scheduled_at=datetime(2020, 1, 1 + number % 2, tzinfo=UTC),
            expires_at=seconds_from_now(-1 if number % 4 else 3600),
        )
        if number % 4:
            wanted.add(attempt.pk)
    assert {one.state for one in store.database.attempts.all()} == {
        "pending",
        "scheduled",
        "waiting",
    }
    expired, batches = expire_all(store, limit)
    assert ({*expired}, len(expired)) == (wanted, len(wanted))
    assert batches == -(-len(wanted) // limit)
    assert store.retention.expire_overdue(limit) == []


def test_what_is_in_time_costs_one_read(store):
    enqueued(store, 3, expires_at=timedelta(hours=1))
    with CaptureQueriesContext(store.database.connection) as queries:
        assert store.retention.expire_overdue(3) == []
    assert [query["sql"][:6] for query in queries] == ["SELECT"]


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides(store):
    late, in_time = enqueued(store, 2)
    put(store, late, expires_at=datetime.now(UTC) + timedelta(minutes=59))
    put(store, in_time, expires_at=datetime.now(UTC) + timedelta(minutes=61))
    assert expire_all(store, 10)[0] == [late.pk]


def test_it_is_not_part_of_a_callers_transaction(store):
    [attempt] = enqueued(store)
    put(store, attempt, expires_at=seconds_from_now(-1))
    with transaction.atomic(store.database.alias), pytest.raises(RuntimeError):
        store.retention.expire_overdue()


def test_a_claim_between_the_look_and_the_move_wins(store, worker, monkeypatch):
    [attempt] = enqueued(store, expires_at=timedelta(hours=1))

    def look_and_lose(limit):
        assert len(store.claims.claim(worker.pk, ["default"], 1)) == 1
        put(store, attempt, expires_at=seconds_from_now(-1))
        return [attempt.pk]

    monkeypatch.setattr(store.retention, "_overdue_ids", look_and_lose)
    assert store.retention.expire_overdue() == []
    assert row(store, attempt).state == "running"


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_what_somebody_holds_is_left_for_the_next_time(store, sessions):
    held, free = enqueued(store, 2)
    for attempt in (held, free):
        put(store, attempt, expires_at=seconds_from_now(-1))
    other = sessions()
    other.begin()
    other.do(held.request_cancel)
    assert expire_all(store, 10)[0] == [free.pk]
    other.rollback()
    assert expire_all(store, 10)[0] == [held.pk]
