"""Schedules that code makes for rows: written in its transaction, ticking, ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from async_attempts import Schedule
from async_attempts.exceptions import (
    InvalidArguments,
    InvalidOption,
    InvalidTarget,
)
from async_attempts.payload import Arguments
from async_attempts.store import schedules as store_schedules
from async_attempts.store.expressions import seconds_from_now
from tests.shop import clients
from tests.shop.models import Order

from .sessions import at_once
from .test_schedules import MINUTE, NAME, TARGET, attempts, change, declared

HOUR = timedelta(hours=1)
NAIVE = datetime(2040, 1, 1)  # noqa: DTZ001
PAST = datetime(2020, 1, 1, tzinfo=UTC)


def made(store, **given: Any) -> Any:
    options: dict[str, Any] = {"every": HOUR, "target": clients.greet, "method_args": [1]}
    return Schedule.objects.using(store.database.alias).create(**options | given)


def row(store) -> Any:
    return store.database.schedules.get()


def order_on(store) -> Order:
    return Order.objects.using(store.database.alias).create(number=7)


def let_tick(store, ago: float = 1) -> None:
    store.database.schedules.update(next_tick=seconds_from_now(-ago))


def age(store, schedule: Any, by: timedelta, **columns: Any) -> None:
    """Let it be as if it had been made so long ago."""
    millis = int(by.total_seconds() * 1000)
    before = schedule.pk
    schedule.id = type(before)(int=before.int - (millis << 80))
    for name, value in columns.items():
        setattr(schedule, name, value)
    schedule.seal(Arguments(1))
    rows = store.database.schedules.filter(pk=before)
    rows.update(id=schedule.id, args=schedule.args, **columns)


def test_it_is_written_sealed_and_named(store):
    schedule = made(store)
    found = row(store)
    assert (found.source, found.target, found.timezone) == ("made", TARGET, "UTC")
    assert (found.every, found.cron, found.times) == (HOUR, "", "every 1:00:00")
    assert found.name == f"{TARGET} {schedule.pk}"
    assert found.arguments == Arguments(1)
    assert b"[[1]" not in bytes(found.args)
    now = store.database.now()
    assert now + HOUR - timedelta(seconds=10) < found.next_tick <= now + HOUR
    assert schedule.method_args == [1]


def test_a_cron_a_class_and_keywords(store):
    schedule = made(
        store,
        every=None,
        cron="0 3 * * *",
        timezone="Europe/Berlin",
        target=clients.OrderClient,
        method_name="fulfill",
        method_args={"customer_token": "t", "order_number": 1},
        name="nightly",
        overlap="skip",
        catch_up="none",
        queue="emails",
        priority="high",
    )
    found = row(store)
    assert found.target == "tests.shop.clients.OrderClient.fulfill"
    assert (found.name, found.method_name) == ("nightly", "fulfill")
    assert (found.priority, found.queue) == (50, "emails")
    assert found.next_tick == schedule.next_tick == found.when.after(store.database.now())


def test_it_is_written_in_the_callers_transaction(store):
    with transaction.atomic(store.database.alias):
        made(store)
        transaction.set_rollback(True, store.database.alias)
    assert not store.database.schedules.exists()


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"every": None}, InvalidOption, "cron: must be"),
        ({"cron": "@daily"}, InvalidOption, "every: a schedule has a cron or an interval"),
        ({"every": 0.5}, InvalidOption, "every: must be whole seconds"),
        ({"every": None, "cron": "61 * * * *"}, InvalidOption, "cron: "),
        ({"timezone": "Mars/Base"}, InvalidOption, "timezone: "),
        ({"overlap": "wait"}, InvalidOption, "overlap: must be"),
        ({"catch_up": "all"}, InvalidOption, "catch_up: must be"),
        ({"until": NAIVE}, InvalidOption, "until: the datetime is naive"),
        ({"until": "2040-01-01"}, InvalidOption, "until: must be an aware datetime"),
        ({"until": PAST}, InvalidOption, "before the first tick"),
        ({"target": "os.path.join"}, InvalidTarget, "os.path"),
        ({"method_args": [object()]}, InvalidArguments, "object"),
        ({"method_args": [1, 2, 3]}, InvalidArguments, "greet"),
        ({"queue": "nowhere"}, InvalidOption, "queue: "),
        ({"priority": 101}, InvalidOption, "priority: "),
        ({"timeout": -1}, InvalidOption, "timeout: "),
        ({"max_attempts": 0}, InvalidOption, "max_attempts: "),
        ({"keep_result": "yes"}, InvalidOption, "keep_result: "),
        ({"expires": "soon"}, InvalidOption, "expires: must be 'next tick'"),
        ({"metadata": {"n": "x" * 20_000}}, InvalidOption, "metadata: takes"),
        ({"metadata": [1]}, InvalidOption, "metadata: must be a dict"),
        ({"limit_key": ""}, InvalidOption, "limit_key: "),
        ({"name": "n" * 256}, InvalidOption, "name: must be"),
        ({"subject": Order(number=1)}, InvalidOption, "subject: must be a saved"),
        ({"args": b"1"}, InvalidOption, "args: "),
    ],
)
def test_what_can_not_be_is_refused_in_the_caller(store, given, error, told):
    with transaction.atomic(store.database.alias):
        with pytest.raises(error, match=told):
            made(store, **given)
        assert not store.database.schedules.exists()


def test_an_instance_is_an_argument_not_a_target(store):
    order = order_on(store)
    with pytest.raises(InvalidTarget):
        made(store, target=order.delete, method_args=None)
    made(store, method_args=[order])
    assert row(store).method_args == [order]


def test_its_tick_is_an_attempt_with_its_options_and_its_subject(store):
    order = order_on(store)
    options = {"timeout": MINUTE, "max_attempts": 3, "keep_result": True, "limit_key": "one"}
    made(store, subject=order, metadata={"a": 1}, queue="emails", priority=9, **options)
    let_tick(store)
    [ticked] = store.schedules.enqueue_ticks([])
    [attempt] = attempts(store)
    assert ticked.attempt == attempt
    assert (attempt.subject, attempt.schedule) == (order, row(store).name)
    assert (attempt.timeout, attempt.max_attempts, attempt.keep_result) == (60.0, 3, True)
    assert (attempt.limit_key, attempt.metadata) == ("one", {"a": 1})
    assert (attempt.queue, attempt.priority, attempt.method_args) == ("emails", 9, [1])


@pytest.mark.parametrize("times", [{"every": HOUR}, {"every": None, "cron": "0 * * * *"}])
def test_what_was_not_performed_expires_when_the_next_one_is_due(store, times):
    made(store, expires="next tick", **times)
    let_tick(store)
    store.schedules.enqueue_ticks([])
    [attempt] = attempts(store)
    assert attempt.expires_at == row(store).next_tick


def test_it_may_expire_after_some_time(store):
    made(store, expires=MINUTE)
    let_tick(store)
    store.schedules.enqueue_ticks([])
    [attempt] = attempts(store)
    assert attempt.expires_at is not None
    assert abs(attempt.expires_at - attempt.created_at - MINUTE) < timedelta(seconds=5)
    beside = store.schedules.enqueue_now(row(store).pk)
    assert beside.expires_at is not None


def test_its_ticks_do_not_drift(store):
    schedule = made(store, every=MINUTE)
    let_tick(store, ago=13)
    store.schedules.enqueue_ticks([])
    found = row(store)
    assert found.next_tick == schedule.next_tick


def test_of_missed_ticks_the_latest_is_caught_up_with(store):
    schedule = made(store, every=MINUTE)
    age(store, schedule, HOUR)
    let_tick(store, ago=600)
    store.schedules.enqueue_ticks([])
    [attempt] = attempts(store)
    assert store.database.now() - MINUTE < attempt.scheduled_at <= store.database.now()
    assert row(store).next_tick == attempt.scheduled_at + MINUTE


@pytest.mark.parametrize(("option", "left_out"), [("catch_up", "none"), ("overlap", "skip")])
def test_what_is_left_out_of_a_cron_is_left_out_of_an_interval(store, option, left_out):
    schedule = made(store, every=timedelta(minutes=10), **{option: left_out})
    age(store, schedule, timedelta(minutes=15))
    if option == "overlap":
        change(store, schedule.name, last_attempt=store.schedules.enqueue_now(schedule.pk).pk)
    let_tick(store, ago=600)
    [ticked] = store.schedules.enqueue_ticks([])
    assert (ticked.attempt, ticked.problem, row(store).num_skipped) == (None, None, 1)


def test_it_ends(store):
    now = store.database.now()
    schedule = made(store, until=now + HOUR * 1.5)
    let_tick(store)
    store.schedules.enqueue_ticks([])
    assert row(store).next_tick == schedule.next_tick
    age(store, row(store), HOUR * 0.9, until=now + MINUTE)
    let_tick(store)
    [ticked] = store.schedules.enqueue_ticks([])
    assert (ticked.problem, row(store).next_tick) == (None, None)
    row(store).update(until=now + HOUR * 9)
    assert row(store).next_tick is not None
    row(store).update(until=now)
    assert row(store).next_tick is None
    row(store).pause()
    row(store).resume()
    assert (row(store).is_paused, row(store).next_tick) == (False, None)


def test_the_last_tick_is_caught_up_with_after_the_end(store):
    schedule = made(store, every=MINUTE)
    until = store.database.now() - timedelta(minutes=10)
    age(store, schedule, HOUR, until=until)
    let_tick(store, ago=900)
    store.schedules.enqueue_ticks([])
    [attempt] = attempts(store)
    assert until - MINUTE < attempt.scheduled_at <= until
    assert row(store).next_tick is None


def test_it_goes_with_its_subject(store):
    order = order_on(store)
    made(store, subject=order)
    made(store, subject=order_on(store))
    order.delete()
    let_tick(store)
    gone, ticked = sorted(store.schedules.enqueue_ticks([]), key=lambda one: one.gone is None)
    assert (gone.attempt, gone.problem) == (None, None)
    assert gone.gone is not None
    assert ticked.attempt is not None
    assert row(store).name == ticked.schedule


def test_a_subject_that_this_release_can_not_look_up_deletes_nothing(store):
    schedule = made(store, subject=order_on(store))
    age(store, schedule, HOUR, subject_type="shop.future")
    let_tick(store)
    [ticked] = store.schedules.enqueue_ticks([])
    assert "shop.future" in str(ticked.problem)
    assert store.database.schedules.exists()


def test_declaring_leaves_it_alone(store):
    made(store, name=NAME)
    before = store.database.schedules.values().get()
    assert store.schedules.declare(declared()) == {NAME}
    store.schedules.declare({})
    assert store.database.schedules.values().get() == before


def test_one_call_enqueues_so_many_and_the_next_one_goes_on(store, monkeypatch):
    monkeypatch.setattr(store_schedules, "MOST_ENQUEUED", 2)
    for _ in range(3):
        made(store)
    let_tick(store)
    assert len(store.schedules.enqueue_ticks([])) == 2
    assert len(store.schedules.enqueue_ticks([])) == 1


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's writers exclude each other")
def test_workers_that_race_enqueue_each_tick_once(store):
    made(store)
    let_tick(store)
    found = at_once(4, lambda _: store.schedules.enqueue_ticks([]))
    assert sorted(map(len, found)) == [0, 0, 0, 1]
    assert len(attempts(store)) == 1
