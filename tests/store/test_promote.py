"""Promote: from scheduled to pending when the database's clock says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from async_attempts.store.expressions import seconds_from_now

from .rows import enqueued, put, row

HOUR = timedelta(hours=1)


def become_due(store, *attempts):
    for number, attempt in enumerate(attempts):
        put(store, attempt, scheduled_at=seconds_from_now(-10 + number))


def test_what_became_due_is_pending_and_the_rest_stays_scheduled(store):
    due, later = enqueued(store, 2, scheduled_at=HOUR)
    become_due(store, due)
    assert store.claims.promote() == 1
    assert (row(store, due).state, row(store, later).state) == ("pending", "scheduled")


def test_promoting_keeps_the_time_it_was_scheduled_for(store):
    [attempt] = enqueued(store, scheduled_at=HOUR)
    become_due(store, attempt)
    before = row(store, attempt).scheduled_at
    store.claims.promote()
    assert row(store, attempt).scheduled_at == before


def test_the_earliest_are_promoted_first(store):
    attempts = enqueued(store, 3, scheduled_at=HOUR)
    become_due(store, *reversed(attempts))
    assert store.claims.promote(limit=2) == 2
    assert [row(store, a).state for a in attempts] == ["scheduled", "pending", "pending"]
    assert store.claims.promote(limit=2) == 1
    assert store.claims.promote(limit=2) == 0


def test_one_attempt_is_promoted_alone_if_it_is_due(store):
    due, other, later = enqueued(store, 3, scheduled_at=HOUR)
    become_due(store, due, other)
    store.claims.promote_one(due.pk)
    store.claims.promote_one(later.pk)
    states = [row(store, attempt).state for attempt in (due, other, later)]
    assert states == ["pending", "scheduled", "scheduled"]


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides_what_is_due(store):
    [attempt] = enqueued(store, scheduled_at=HOUR)
    put(store, attempt, scheduled_at=datetime.now(UTC) + HOUR / 2)
    assert store.claims.look(["default"]).next_due == 0
    assert store.claims.promote() == 1


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_next_due_is_told_in_seconds_of_the_databases_clock(store):
    enqueued(store, scheduled_at=datetime.now(UTC) + 1.5 * HOUR)
    assert 1700 < store.claims.look(["default"]).next_due < 1801


def test_the_next_due_is_that_of_the_earliest_scheduled(store):
    enqueued(store)
    assert store.claims.look(["default"]).next_due is None
    enqueued(store, scheduled_at=2 * HOUR)
    [first] = enqueued(store, scheduled_at=HOUR)
    assert 3500 < store.claims.look(["default"]).next_due < 3601
    become_due(store, first)
    assert store.claims.look(["default"]).next_due == 0


@pytest.mark.parametrize("verb", ["promote", "promote_one"])
def test_promoting_is_not_part_of_a_callers_transaction(store, verb):
    [attempt] = enqueued(store, scheduled_at=HOUR)
    arguments = () if verb == "promote" else (attempt.pk,)
    with transaction.atomic(store.database.alias), pytest.raises(RuntimeError):
        getattr(store.claims, verb)(*arguments)


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_a_locked_row_is_left_for_the_next_time(store, sessions):
    locked, free = enqueued(store, 2, scheduled_at=HOUR)
    become_due(store, locked, free)
    other = sessions()
    other.begin()
    other.do(lambda: list(store.database.attempts.filter(pk=locked.pk).select_for_update()))
    assert store.claims.promote() == 1
    other.rollback()
    assert store.claims.promote() == 1
    assert (row(store, locked).state, row(store, free).state) == ("pending", "pending")
