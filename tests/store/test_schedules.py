"""Schedules: one attempt for each tick, and what operators and releases do to them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import QuerySet

from async_attempts.exceptions import InvalidTarget
from async_attempts.models import Attempt, DatabaseNow, Schedule
from async_attempts.payload import Arguments
from async_attempts.store.expressions import seconds_from_now
from async_attempts.targets.declared_schedule import DeclaredSchedule

from .sessions import PATIENCE, at_once

MINUTE = timedelta(minutes=1)
YEARLY = "0 0 1 1 *"
NAME = "greetings"
TARGET = "tests.shop.clients.greet"


def declared(name: str = NAME, **options) -> dict[str, DeclaredSchedule]:
    given: dict[str, Any] = {"cron": "* * * * *", "target": TARGET, "arguments": Arguments(1)}
    return {name: DeclaredSchedule(name=name, **given | options)}


def schedule(store, name: str = NAME) -> Any:
    return store.database.schedules.get(name=name)


def change(store, name: str = NAME, **columns) -> None:
    store.database.schedules.filter(name=name).update(**columns)


def declare_due(store, ago: timedelta = timedelta(0), **options) -> datetime:
    """A schedule that was to have ticked so long ago; returns that tick."""
    store.schedules.declare(declared(**{"cron": YEARLY} | options))
    tick: datetime = store.database.now() - ago
    change(store, next_tick=tick)
    return tick


def attempts(store) -> list[Attempt]:
    return list(store.database.attempts.order_by("scheduled_at"))


def test_a_declared_schedule_has_a_row_whose_next_tick_is_to_come(store):
    store.schedules.declare(declared(timezone="Europe/Berlin", priority="high", queue="emails"))
    row = schedule(store)
    assert (row.source, row.is_declared, row.is_paused) == ("in code", True, False)
    assert (row.timezone, row.priority, row.queue) == ("Europe/Berlin", 50, "emails")
    assert row.arguments == Arguments(1)
    assert store.database.now() < row.next_tick <= store.database.now() + MINUTE
    assert store.schedules.enqueue_ticks([NAME]) == []


def test_a_due_tick_is_an_attempt(store):
    tick = declare_due(store, queue="emails", priority=7)
    [ticked] = store.schedules.enqueue_ticks([NAME])
    [attempt] = attempts(store)
    assert ticked.attempt.pk == attempt.pk
    assert (attempt.schedule, attempt.scheduled_at, attempt.state) == (NAME, tick, "pending")
    assert (attempt.queue, attempt.priority) == ("emails", 7)
    assert attempt.method_args == [1]
    row = schedule(store)
    assert (row.last_tick, row.last_attempt) == (tick, attempt.pk)
    assert row.next_tick == row.when.after(tick)
    assert store.schedules.enqueue_ticks([NAME]) == []


def test_a_tick_is_enqueued_once_even_if_the_row_is_put_back(store):
    tick = declare_due(store)
    for _ in range(2):
        store.schedules.enqueue_ticks([NAME])
        change(store, next_tick=tick)
    assert len(attempts(store)) == 1
    assert schedule(store).last_attempt == attempts(store)[0].pk


def test_a_tick_is_an_attempt_of_its_own_whatever_the_target_says_of_calls(store):
    for target in ("tests.shop.paced.remind", "tests.shop.paced.reindex"):
        for _ in range(2):
            declare_due(store, target=target)
            [ticked] = store.schedules.enqueue_ticks([NAME])
            assert (ticked.attempt.created, ticked.attempt.state) == (True, "pending")
    assert len(attempts(store)) == 4


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's writers exclude each other")
def test_workers_that_race_for_a_tick_enqueue_it_once(store):
    declare_due(store)
    found = at_once(4, lambda _: store.schedules.enqueue_ticks([NAME]))
    assert sorted(map(len, found)) == [0, 0, 0, 1]
    assert len(attempts(store)) == 1


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's writers exclude each other")
def test_who_comes_second_leaves_the_tick_to_the_first(store, sessions):
    declare_due(store)
    first, second = sessions(), sessions()
    second.be_impatient()
    future = first.start_and_stop_after(
        ("UPDATE", "next_tick"), store.schedules.enqueue_ticks, [NAME]
    )
    assert second.do(store.schedules.enqueue_ticks, [NAME]) == []
    first.go_on()
    assert len(future.result(60)) == 1
    assert store.schedules.enqueue_ticks([NAME]) == []
    assert len(attempts(store)) == 1


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's writers exclude each other")
def test_who_has_read_the_old_tick_moves_nothing(store, sessions, monkeypatch):
    """The statement's own guard, were there no row locks."""
    monkeypatch.setattr(QuerySet, "select_for_update", lambda rows, **_: rows)
    declare_due(store)
    late = sessions()
    future = late.start_and_stop_after(
        ("SELECT", "num_skipped"), store.schedules.enqueue_ticks, [NAME]
    )
    assert len(store.schedules.enqueue_ticks([NAME])) == 1
    before = schedule(store)
    late.go_on()
    assert future.result(60) == []
    after = schedule(store)
    assert (after.next_tick, after.last_attempt) == (before.next_tick, before.last_attempt)
    assert len(attempts(store)) == 1


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_says_what_is_due(store):
    tick = declare_due(store)
    assert tick > datetime.now(UTC) + timedelta(minutes=55)
    store.schedules.enqueue_ticks([NAME])
    [attempt] = attempts(store)
    assert (attempt.scheduled_at, attempt.state) == (tick, "pending")
    assert schedule(store).next_tick > tick


def test_after_an_outage_the_latest_tick_alone_is_caught_up_with(store):
    declare_due(store, timedelta(hours=5), cron="* * * * *")
    store.schedules.enqueue_ticks([NAME])
    [attempt] = attempts(store)
    assert store.database.now() - MINUTE < attempt.scheduled_at <= store.database.now()
    assert schedule(store).next_tick > store.database.now()


def test_a_missed_tick_is_left_out_where_it_is_to_be(store):
    tick = declare_due(store, timedelta(minutes=2), catch_up="none")
    [ticked] = store.schedules.enqueue_ticks([NAME])
    assert ticked.attempt is None
    row = schedule(store)
    assert (row.num_skipped, row.last_skipped, row.last_attempt) == (1, tick, None)
    assert row.next_tick > store.database.now()
    assert attempts(store) == []


def test_who_does_not_catch_up_is_not_late_by_a_few_seconds(store):
    declare_due(store, timedelta(seconds=10), catch_up="none")
    assert store.schedules.enqueue_ticks([NAME])[0].attempt is not None


@pytest.mark.parametrize("overlap", ["allow", "skip"])
def test_a_tick_while_the_last_attempt_lives(store, overlap):
    declare_due(store, overlap=overlap)
    store.schedules.enqueue_ticks([NAME])
    before = schedule(store)
    tick = declare_due(store, overlap=overlap)
    [ticked] = store.schedules.enqueue_ticks([NAME])
    row = schedule(store)
    assert row.next_tick > store.database.now()
    if overlap == "skip":
        assert ticked.attempt is None
        assert (row.num_skipped, row.last_attempt) == (1, before.last_attempt)
        store.database.attempts.update(status="succeeded", completed_at=DatabaseNow())
        change(store, next_tick=tick - timedelta(seconds=2))
        assert store.schedules.enqueue_ticks([NAME])[0].attempt is not None
        assert schedule(store).num_skipped == 1
    else:
        assert ticked.attempt is not None
        assert row.num_skipped == 0
    assert len(attempts(store)) == 2


def test_the_last_attempt_may_have_been_deleted(store):
    declare_due(store, overlap="skip")
    store.schedules.enqueue_ticks([NAME])
    store.database.attempts.all()._raw_delete(store.database.alias)
    declare_due(store, overlap="skip")
    assert store.schedules.enqueue_ticks([NAME])[0].attempt is not None


def test_what_is_paused_stays_paused_when_it_is_declared_again(store):
    store.schedules.declare(declared())
    assert store.schedules.pause([schedule(store).pk]) == 1
    assert store.schedules.pause([schedule(store).pk]) == 0
    store.schedules.declare(declared(cron="0 3 * * *", arguments=Arguments(2)))
    row = schedule(store)
    assert (row.is_paused, row.next_tick, row.cron) == (True, None, "0 3 * * *")
    assert row.arguments == Arguments(2)
    assert store.schedules.resume([row.pk]) == 1
    row = schedule(store)
    assert row.next_tick.hour == 3
    assert row.next_tick > store.database.now()


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
def test_who_resumes_goes_by_the_times_that_hold(store, sessions):
    # Nothing that may be due before the test ends: a due tick stays.
    store.schedules.declare(declared(cron="0 0 2 1 *"))
    row = schedule(store)
    store.schedules.pause([row.pk])
    resuming, declaring = sessions(), sessions()
    resumed = resuming.start_and_stop_after(
        ("SELECT", "is_paused"), store.schedules.resume, [row.pk]
    )
    done = declaring.start(store.schedules.declare, declared(cron=YEARLY))
    with suppress(TimeoutError):
        done.result(1)
    resuming.go_on()
    assert resumed.result(PATIENCE) == 1
    done.result(PATIENCE)
    # A change that came between is written with the next word.
    store.schedules.declare(declared(cron=YEARLY))
    row = schedule(store)
    assert row.next_tick == row.when.after(store.database.now())


def test_what_was_due_while_paused_is_not_caught_up_with(store):
    declare_due(store, timedelta(hours=1))
    store.schedules.pause([schedule(store).pk])
    assert store.schedules.enqueue_ticks([NAME]) == []
    store.schedules.resume([schedule(store).pk])
    assert store.schedules.enqueue_ticks([NAME]) == []
    assert schedule(store).next_tick > store.database.now()


def test_declaring_the_same_again_writes_nothing(store, django_assert_num_queries):
    store.schedules.declare(declared())
    with django_assert_num_queries(1, using=store.database.alias):
        store.schedules.declare(declared())


def test_the_word_for_many_is_given_in_one_statement(store, django_assert_num_queries):
    many = {name: one for n in range(5) for name, one in declared(f"s{n}").items()}
    store.schedules.declare(many)
    store.database.schedules.update(declared_at=seconds_from_now(-60))
    with django_assert_num_queries(2, using=store.database.alias):
        store.schedules.declare(many)
    assert not store.database.schedules.filter(declared_at__lt=seconds_from_now(-10)).exists()


def test_a_persons_change_of_other_things_takes_no_due_tick_away(store):
    row = made_by_a_person(store, cron=YEARLY)
    change(store, next_tick=seconds_from_now(-1), last_attempt=row.pk)
    due = schedule(store).next_tick
    row.overlap = "skip"
    store.schedules.put(row)
    found = schedule(store)
    assert (found.overlap, found.next_tick, found.last_attempt) == ("skip", due, row.pk)
    row.cron = "0 3 * * *"
    store.schedules.put(row)
    assert schedule(store).next_tick.hour == 3


def test_new_times_hold_from_now_on(store):
    store.schedules.declare(declared(cron="0 3 * * *"))
    store.schedules.declare(declared(cron="0 4 * * *"))
    assert schedule(store).next_tick.hour == 4


def test_new_times_take_nothing_away_that_is_due(store):
    tick = declare_due(store)
    store.schedules.declare(declared(cron="0 4 1 1 *"))
    assert schedule(store).next_tick == tick
    store.schedules.enqueue_ticks([NAME])
    assert attempts(store)[0].scheduled_at == tick
    assert (schedule(store).next_tick.month, schedule(store).next_tick.hour) == (1, 4)


def test_what_no_worker_declares_any_more_is_marked_and_never_due(store):
    store.schedules.declare(declared())
    store.schedules.declare({})
    assert schedule(store).is_declared
    change(store, declared_at=seconds_from_now(-200), next_tick=seconds_from_now(-1))
    assert store.schedules.enqueue_ticks([]) == []
    store.schedules.declare({})
    row = schedule(store)
    assert (row.is_declared, row.next_tick) == (False, None)
    store.schedules.resume([row.pk])
    assert schedule(store).next_tick is None
    store.schedules.declare(declared())
    row = schedule(store)
    assert row.is_declared
    assert row.next_tick > store.database.now()


def test_a_workers_word_keeps_it_declared(store):
    store.schedules.declare(declared())
    change(store, declared_at=seconds_from_now(-200))
    store.schedules.declare(declared())
    assert schedule(store).declared_at > store.database.now() - timedelta(seconds=10)


def test_another_releases_schedule_is_left_to_its_workers(store):
    declare_due(store)
    assert store.schedules.enqueue_ticks(["another"]) == []
    assert len(store.schedules.enqueue_ticks([NAME])) == 1


def made_by_a_person(store, **columns) -> Any:
    columns = {"name": NAME, "cron": "* * * * *", "timezone": "UTC", "target": TARGET} | columns
    row = Schedule(**columns)
    row.seal(Arguments(1))
    store.schedules.put(row)
    return row


def test_a_persons_schedule_is_every_workers(store):
    row = made_by_a_person(store)
    assert row.next_tick > store.database.now()
    change(store, next_tick=seconds_from_now(-1))
    assert store.schedules.enqueue_ticks([])[0].attempt.method_args == [1]
    store.schedules.declare({})
    assert schedule(store).is_declared


def test_a_name_that_the_database_takes_for_another_is_told(store):
    both = declared() | declared(NAME.title())
    refused = store.schedules.declare(both)
    names = set(store.database.schedules.values_list("name", flat=True))
    assert refused == {*both} - names
    assert len(refused) == (1 if store.database.connection.vendor == "mysql" else 0)
    assert store.schedules.declare(both) == refused


def test_code_takes_over_what_a_person_made(store):
    made_by_a_person(store)
    store.schedules.declare(declared(cron="0 3 * * *"))
    row = schedule(store)
    assert (row.source, row.cron, row.next_tick.hour) == ("in code", "0 3 * * *", 3)


def test_what_can_not_be_enqueued_is_told_stays_due_and_keeps_nobody_back(store):
    made_by_a_person(store, target="tests.shop.clients.no_such_function")
    made_by_a_person(store, name="another")
    store.database.schedules.update(next_tick=seconds_from_now(-1))
    ticked = {one.schedule: one for one in store.schedules.enqueue_ticks([])}
    assert isinstance(ticked[NAME].problem, InvalidTarget)
    assert ticked["another"].attempt is not None
    assert schedule(store).next_tick < store.database.now()
    assert len(attempts(store)) == 1


def test_an_operator_enqueues_one_beside_the_ticks(store):
    tick = declare_due(store)
    store.schedules.pause([schedule(store).pk])
    one, other = (store.schedules.enqueue_now(schedule(store).pk) for _ in range(2))
    assert one.pk != other.pk
    assert [attempt.schedule for attempt in attempts(store)] == [NAME, NAME]
    assert {attempt.state for attempt in attempts(store)} == {"pending"}
    row = schedule(store)
    assert (row.last_attempt, row.last_tick, row.next_tick) == (other.pk, None, None)
    assert tick < attempts(store)[0].scheduled_at


def test_one_beside_the_ticks_hides_none_that_lives_from_the_next_tick(store):
    declare_due(store, overlap="skip")
    [ticked] = store.schedules.enqueue_ticks([NAME])
    beside = store.schedules.enqueue_now(schedule(store).pk)
    beside.expire()
    change(store, next_tick=store.database.now())
    [skipped] = store.schedules.enqueue_ticks([NAME])
    assert (skipped.attempt, skipped.problem) == (None, None)
    ticked.attempt.expire()
    again = store.schedules.enqueue_now(schedule(store).pk)
    assert schedule(store).last_attempt == again.pk


def test_a_tick_is_over_even_where_the_clock_was_read_before_it(store):
    declare_due(store, ago=-MINUTE, cron="* * * * * *")
    tick = schedule(store).next_tick
    pk = schedule(store).pk
    ticked = store.database.in_transaction(
        lambda: store.schedules._enqueue_tick(store.database.schedules, pk)
    )
    assert (ticked.attempt.scheduled_at, schedule(store).last_tick) == (tick, tick)
    assert schedule(store).next_tick > tick


def test_arguments_open_for_their_target_alone(store):
    row = made_by_a_person(store)
    assert b"[[1]" not in bytes(row.args)
    change(store, target="tests.shop.clients.send_welcome", next_tick=seconds_from_now(-1))
    assert store.schedules.enqueue_ticks([])[0].problem is not None


def test_the_look_of_an_idle_worker_tells_the_next_tick(store):
    assert store.claims.look(["default"]).next_tick is None
    declare_due(store)
    assert store.claims.look(["default"]).next_tick == 0.0
    change(store, next_tick=seconds_from_now(100))
    assert 90 < store.claims.look(["default"]).next_tick < 100.1
    store.schedules.pause([schedule(store).pk])
    assert store.claims.look(["default"]).next_tick is None
