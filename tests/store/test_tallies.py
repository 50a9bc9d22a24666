"""Tallies: added up by whoever has something, minute by minute, and forgotten in the end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from async_attempts.models import DatabaseNow
from async_attempts.models.tally import BUCKETS, NUMBERS, TARGET_LENGTH
from async_attempts.store import Tallied, statistics
from tests.store.rows import enqueued
from tests.store.sessions import at_once

SUCCEEDED = Tallied("default", "shop.clients.greet", "succeeded")
DAY = 86_400.0


def numbers(count, wait=0.0, run=0.0, *, bucket="to_10ms"):
    return [count, wait, run, *(count if name == bucket else 0 for name in BUCKETS)]


def tallied(store):
    """What is counted in all, whatever the minutes."""
    return dict(store.statistics.tallied(store.database.now() - timedelta(days=60)))


def put_back(store, **ago):
    store.database.tallies.update(minute=store.database.now() - timedelta(**ago))


def test_what_is_added_adds_up(store):
    failed = SUCCEEDED._replace(outcome="failed")
    store.statistics.add_tallies(
        {SUCCEEDED: numbers(2, 0.5, 0.25), failed: numbers(1, bucket="longer")}
    )
    store.statistics.add_tallies({SUCCEEDED: numbers(3, 1.0, 0.5, bucket="to_1s")})
    assert tallied(store) == {
        SUCCEEDED: (5, 1.5, 0.75, *(2 * (b == "to_10ms") + 3 * (b == "to_1s") for b in BUCKETS)),
        failed: tuple(numbers(1, bucket="longer")),
    }


def test_a_minute_is_one_row(store):
    for _ in range(3):
        store.statistics.add_tallies({SUCCEEDED: numbers(1)})
    moments = list(store.database.tallies.values_list("minute", flat=True))
    # Another minute may have begun meanwhile.
    assert len(moments) in {1, 2}
    assert {(m.second, m.microsecond) for m in moments} == {(0, 0)}
    assert timedelta() <= store.database.now() - moments[0] < timedelta(seconds=90)


def test_another_minute_is_another_row(store):
    store.statistics.add_tallies({SUCCEEDED: numbers(1)})
    put_back(store, minutes=5)
    store.statistics.add_tallies({SUCCEEDED: numbers(2)})
    assert sorted(store.database.tallies.values_list("count", flat=True)) == [1, 2]
    [(_, (recent, *_))] = store.statistics.tallied(store.database.now() - timedelta(minutes=3))
    assert recent == 2


def test_nothing_is_no_statement(store, django_assert_num_queries):
    with django_assert_num_queries(0, using=store.database.alias):
        store.statistics.add_tallies({})


def test_what_is_too_long_for_the_column_is_cut_and_counted_together(store):
    stem = "x" * TARGET_LENGTH
    long = [SUCCEEDED._replace(target=stem + end) for end in ("a", "b")]
    store.statistics.add_tallies({key: numbers(1) for key in long})
    assert {key.target: row[0] for key, row in tallied(store).items()} == {stem: 2}


def test_more_than_fit_a_statement_are_all_or_none(store, monkeypatch):
    monkeypatch.setattr(statistics, "ROWS_IN_A_STATEMENT", 2)
    many = {SUCCEEDED._replace(target=f"target{n}"): numbers(n + 1) for n in range(5)}
    store.statistics.add_tallies(many)
    assert {key: row[0] for key, row in tallied(store).items()} == {
        key: row[0] for key, row in many.items()
    }


def test_workers_that_add_at_once_lose_nothing(store):
    """In opposite orders, as whoever counted them first; sorted, they don't deadlock."""
    keys = [SUCCEEDED._replace(target=f"target{n:02}") for n in range(20)]

    def add(n: int) -> None:
        for _ in range(10):
            store.statistics.add_tallies({key: numbers(1) for key in keys[:: 1 if n % 2 else -1]})

    at_once(4, add)
    assert {row[0] for row in tallied(store).values()} == {40}
    assert len(tallied(store)) == 20


def test_what_is_old_is_forgotten_a_part_at_a_time(store, monkeypatch):
    monkeypatch.setattr(statistics, "FORGOTTEN_AT_A_TIME", 2)
    store.statistics.add_tallies(
        {SUCCEEDED._replace(target=f"old{n}"): numbers(1) for n in range(3)}
    )
    put_back(store, days=31)
    store.statistics.add_tallies({SUCCEEDED: numbers(1)})
    assert [store.statistics.forget_tallies(30 * DAY) for _ in range(3)] == [2, 1, 0]
    assert set(tallied(store)) == {SUCCEEDED}


def test_the_clock_is_the_databases(store, an_hour_ahead):
    before = store.database.now()
    store.statistics.add_tallies({SUCCEEDED: numbers(1)})
    [minute] = store.database.tallies.values_list("minute", flat=True)
    assert timedelta(seconds=-60) < minute - before < timedelta(seconds=60)


@pytest.mark.parametrize("seconds", [0.0, 90.0])
def test_a_claim_knows_how_long_it_was_due(store, worker, seconds):
    [attempt] = enqueued(store)
    store.database.attempts.update(scheduled_at=DatabaseNow() - timedelta(seconds=seconds))
    [claim] = store.claims.claim(worker.pk, ["default"], 1)
    assert claim.id == attempt.pk
    assert seconds <= claim.waited < seconds + 30


def test_the_histogram_has_a_column_for_each_bucket(store):
    columns = [field.name for field in store.database.tallies.model._meta.fields]
    assert columns[-len(NUMBERS) :] == list(NUMBERS)
    assert list(BUCKETS.values()) == sorted(BUCKETS.values())


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")
def test_old_tallies_are_forgotten_while_another_worker_is_frozen_over_a_new_one(store, sessions):
    queues = [f"q{number}" for number in range(30)]
    store.statistics.add_tallies({SUCCEEDED._replace(queue=queue): numbers(1) for queue in queues})
    put_back(store, days=31)
    store.statistics.add_tallies({SUCCEEDED: numbers(1)})
    frozen = sessions()
    frozen.begin()
    frozen.do(lambda: store.database.tallies.select_for_update().get(queue="default"))
    assert store.statistics.forget_tallies(30 * DAY) == 30
    assert list(tallied(store)) == [SUCCEEDED]
