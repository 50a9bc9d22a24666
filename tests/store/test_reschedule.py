"""`reschedule`: what waits is moved in time, by one guarded statement for each batch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from async_attempts import Attempt, call
from async_attempts.exceptions import InvalidOption, InvalidTransition
from async_attempts.models import DatabaseNow
from async_attempts.store import changes
from tests.shop import clients

from .rows import enqueued, every_column, now, one_in_each_state, put, row, states
from .sessions import at_once

HOUR = timedelta(hours=1)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 it is to be refused
FIXED = {"running", "succeeded", "failed", "expired"}


def everything(store):
    return Attempt.objects.using(store.database.alias)


@pytest.mark.parametrize("at", [timedelta(0), HOUR], ids=["now", "later"])
def test_only_what_waits_is_moved_and_the_rest_is_told(store, worker, at):
    attempts = one_in_each_state(store, worker)
    before = {one["id"]: one for one in every_column(store)}
    assert everything(store).reschedule(at) == (3, dict.fromkeys(FIXED, 1))
    moved = "scheduled" if at else "pending"
    expected = {state: state for state in attempts} | {"scheduled": moved, "pending": moved}
    assert states(store, attempts) == expected
    after = {one["id"]: one for one in every_column(store)}
    for state in FIXED:
        assert after[attempts[state].pk] == before[attempts[state].pk]
    times = {after[attempts[s].pk]["scheduled_at"] for s in ("scheduled", "pending", "waiting")}
    assert all(abs(time - (now(store) + at)) < timedelta(minutes=1) for time in times)


def test_a_moment_is_the_new_time_of_all(store):
    enqueued(store, 2)
    at = datetime.now(UTC) + HOUR
    assert everything(store).reschedule(at) == (2, {})
    assert {(one.state, one.scheduled_at) for one in everything(store)} == {("scheduled", at)}
    assert everything(store).reschedule(at - 2 * HOUR) == (2, {})
    assert {one.state for one in everything(store)} == {"pending"}


@pytest.mark.parametrize(
    ("by", "state"), [(-HOUR / 2, "scheduled"), (-2 * HOUR, "pending"), (HOUR, "scheduled")]
)
def test_each_is_moved_from_its_own_time(store, by, state):
    first, second = (enqueued(store, scheduled_at=HOUR + n * HOUR / 4)[0] for n in (0, 1))
    times = [row(store, one).scheduled_at for one in (first, second)]
    assert everything(store).reschedule(by=by) == (2, {})
    assert [row(store, one).scheduled_at for one in (first, second)] == [t + by for t in times]
    assert {row(store, one).state for one in (first, second)} == {state}


def test_what_is_due_can_be_put_off_by_a_time(store):
    [attempt] = enqueued(store)
    due = row(store, attempt).scheduled_at
    attempt.reschedule(by=HOUR)
    assert (attempt.state, attempt.scheduled_at) == ("scheduled", due + HOUR)


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides_what_is_due(store):
    [attempt] = enqueued(store)
    attempt.reschedule(datetime.now(UTC) + HOUR / 2)
    assert row(store, attempt).state == "pending"


def test_one_row_is_moved_or_raises(store, worker):
    attempts = one_in_each_state(store, worker)
    attempts["scheduled"].reschedule(timedelta(0))
    assert attempts["scheduled"].state == "pending"
    for state in FIXED:
        with pytest.raises(InvalidTransition, match=f"reschedule is not possible: it is {state}"):
            attempts[state].reschedule(HOUR)


def test_what_waits_for_others_is_due_at_the_new_time_once_they_have_ended(store):
    [first] = enqueued(store)
    rows = [
        call(clients.greet, n).using(database=store.database.alias, depends_on=[first]).enqueue()
        for n in (1, 2)
    ]
    rows[0].reschedule(HOUR)
    assert row(store, rows[0]).state == "waiting"
    put(store, first, status="succeeded", completed_at=DatabaseNow())
    store.dependencies.close([first.pk])
    assert [row(store, one).state for one in rows] == ["scheduled", "pending"]


def test_what_waits_for_a_slot_gives_up_its_place(store):
    later, sooner = enqueued(store, 2, limit_key="customer 7")
    for one in (later, sooner):
        put(store, one, status="waiting")
    later.reschedule(HOUR)
    sooner.reschedule(timedelta(0))
    assert [row(store, one).state for one in (later, sooner)] == ["scheduled", "pending"]


def test_what_is_moved_forward_is_claimed(store, worker):
    [attempt] = enqueued(store, scheduled_at=HOUR)
    assert not store.claims.claim(worker.pk, ["default"], 1)
    attempt.reschedule(timedelta(0))
    assert [one.id for one in store.claims.claim(worker.pk, ["default"], 1)] == [attempt.pk]


def test_an_expiry_stays_as_it_is(store, worker):
    [attempt] = enqueued(store, expires_at=HOUR)
    expires_at = row(store, attempt).expires_at
    attempt.reschedule(2 * HOUR)
    assert (attempt.state, attempt.expires_at) == ("scheduled", expires_at)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"at": HOUR, "by": HOUR},
        {"at": NAIVE},
        {"at": "tomorrow"},
        {"at": timedelta(days=365_000)},
        {"by": NAIVE},
        {"by": 60},
        {"by": timedelta(days=-365_000)},
    ],
    ids=["neither", "both", "naive", "text", "too late", "by a moment", "by a number", "too early"],
)
def test_a_time_that_can_not_be_is_refused(store, options):
    [attempt] = enqueued(store)
    before = every_column(store)
    for ways in (everything(store), attempt):
        with transaction.atomic(store.database.alias):
            with pytest.raises(InvalidOption, match=r"\b(at|by)\b"):
                ways.reschedule(**options)
            assert every_column(store) == before


def test_a_slice_is_moved_batch_by_batch(store, monkeypatch):
    monkeypatch.setattr(changes, "BATCH", 3)
    attempts = enqueued(store, 8)
    assert everything(store).order_by("pk")[:7].reschedule(HOUR) == (7, {})
    assert everything(store).filter(status="pending").get().pk == attempts[7].pk


def test_what_another_transaction_holds_is_left(store, sessions):
    held, free = enqueued(store, 2)
    if store.database.vendor == "sqlite":
        pytest.skip("it has one writer, and no rows are locked")
    session = sessions()
    session.begin()
    session.do(lambda: list(store.database.attempts.select_for_update().filter(pk=held.pk)))
    assert everything(store).reschedule(HOUR) == (1, {"pending": 1})
    assert [row(store, one).state for one in (held, free)] == ["pending", "scheduled"]


def test_of_a_claim_and_a_move_one_comes_first(store, worker, monkeypatch):
    attempts = enqueued(store, 2)
    lock_free = type(store.database).lock_free

    def claimed_before(self, rows):
        put(store, attempts[0], claimed_by=worker.pk, claim_seq=1, num_attempts=1)
        return lock_free(self, rows)

    monkeypatch.setattr(type(store.database), "lock_free", claimed_before)
    assert everything(store).reschedule(HOUR) == (1, {"pending": 1})
    assert [row(store, one).state for one in attempts] == ["running", "scheduled"]


def test_two_who_move_the_same_at_once_move_each_as_often_as_they_say(store):
    attempts = enqueued(store, 20)
    before = [row(store, attempt).scheduled_at for attempt in attempts]
    changes = at_once(3, lambda _: everything(store).reschedule(by=HOUR))
    after = [row(store, attempt).scheduled_at for attempt in attempts]
    hours = [(b - a) / HOUR for a, b in zip(before, after, strict=True)]
    assert sum(hours) == sum(change.changed for change in changes)
    assert min(hours) >= 1


@pytest.mark.parametrize("at", [timedelta(0), HOUR], ids=["now", "later"])
def test_idle_workers_are_woken(store, monkeypatch, at):
    notified = []

    def notify_due(self):
        notified.append(self)

    monkeypatch.setattr(type(store.database), "notify_due", notify_due)
    [attempt] = enqueued(store, scheduled_at=2 * HOUR)
    attempt.reschedule(at)
    assert notified == [store.database]
