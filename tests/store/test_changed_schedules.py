"""Changes of the schedules that code makes for rows: sealed again, and in its transaction."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from async_attempts import Schedule
from async_attempts.exceptions import InvalidArguments, InvalidOption, Tampered
from async_attempts.payload import Arguments
from tests.shop import clients

from .sessions import PATIENCE
from .test_schedules import MINUTE, attempts, change, declared
from .test_schedules_of_rows import HOUR, let_tick, made, order_on, row


def test_a_change_is_sealed_again_and_holds_from_now_on(store):
    made(store)
    row(store).update(every=90)
    found = row(store)
    assert (found.every, found.arguments) == (timedelta(seconds=90), Arguments(1))
    assert found.next_tick == found.when.after(store.database.now())
    found.update(cron="0 3 * * *", timezone="Asia/Tokyo")
    found = row(store)
    assert (found.every, found.cron, found.arguments) == (None, "0 3 * * *", Arguments(1))
    found.update(every=HOUR, method_args=[2], name="renamed", timeout=5)
    found = row(store)
    assert (found.cron, found.arguments, found.name) == ("", Arguments(2), "renamed")
    given = {"customer_token": "t", "order_number": 1}
    found.update(target=clients.OrderClient, method_name="fulfill", method_args=given)
    found = row(store)
    assert found.target == "tests.shop.clients.OrderClient.fulfill"
    assert (found.timeout, found.method_args) == (5.0, given)
    let_tick(store)
    assert store.schedules.enqueue_ticks([])[0].problem is None


def test_a_saved_change_is_the_same(store):
    schedule = made(store)
    schedule.every, schedule.method_args, schedule.max_attempts = 60, [2], 4
    schedule.save()
    found = row(store)
    assert (found.every, found.arguments, found.max_attempts) == (MINUTE, Arguments(2), 4)
    found.max_attempts = None
    found.save()
    assert row(store).options is None


def test_other_columns_are_left_as_the_table_has_them(store):
    made(store)
    stale = row(store)
    row(store).update(every=90, overlap="skip")
    stale.update(catch_up="none")
    found = row(store)
    assert (found.every, found.overlap, found.catch_up) == (MINUTE * 1.5, "skip", "none")
    assert found.arguments == Arguments(1)


def test_a_change_of_other_things_takes_no_due_tick_away(store):
    made(store)
    let_tick(store)
    due = row(store).next_tick
    row(store).update(overlap="skip")
    assert row(store).next_tick == due


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"every": 0}, InvalidOption),
        ({"method_args": [1, 2, 3]}, InvalidArguments),
        ({"target": "tests.shop.reports.recount"}, InvalidArguments),
        ({"is_paused": True}, InvalidOption),
        ({"next_tick": None}, InvalidOption),
        ({"evry": 60}, InvalidOption),
    ],
)
def test_a_change_that_can_not_be_writes_nothing(store, changes, error):
    made(store)
    before = store.database.schedules.values().get()
    with transaction.atomic(store.database.alias), pytest.raises(error):
        row(store).update(**changes)
    assert store.database.schedules.values().get() == before


def test_save_writes_no_state(store):
    schedule = made(store)
    with pytest.raises(InvalidOption, match="pause"):
        schedule.save(update_fields=["is_paused"])


def test_what_was_edited_in_the_table_is_not_sealed_again(store):
    made(store)
    change(store, row(store).name, every=timedelta(seconds=1))
    with pytest.raises(Tampered):
        row(store).update(overlap="skip")
    row(store).update(queue="emails")
    let_tick(store)
    assert isinstance(store.schedules.enqueue_ticks([])[0].problem, Tampered)


@pytest.mark.parametrize(
    "edited",
    [
        {"every": timedelta(seconds=1)},
        {"every": None, "cron": "* * * * * *"},
        {"until": None},
        {"subject_id": "800000"},
        {"subject_type": None, "subject_id": None},
        {"code_says": "@daily"},
        {"cron": "* * * * *"},
    ],
)
def test_what_it_is_bound_to_can_not_be_edited(store, edited):
    made(store, subject=order_on(store), until=store.database.now() + 9 * HOUR)
    change(store, row(store).name, **edited)
    let_tick(store)
    [ticked] = store.schedules.enqueue_ticks([])
    assert ticked.problem is not None
    assert attempts(store) == []


def test_many_are_written_at_once_and_none_is_updated_past_its_seal(store):
    rows = Schedule.objects.using(store.database.alias)
    given: dict[str, Any] = {"every": 60, "target": clients.greet}
    rows.bulk_create(Schedule(**given | {"method_args": [n]}) for n in range(3))
    let_tick(store)
    assert len(store.schedules.enqueue_ticks([])) == 3
    assert sorted(attempt.method_args[0] for attempt in attempts(store)) == [0, 1, 2]
    with pytest.raises(InvalidOption, match="every: a schedule's arguments are sealed"):
        rows.update(every=90)
    assert rows.update(queue="emails") == 3


def test_get_or_create_calls_no_target(store):
    rows = Schedule.objects.using(store.database.alias)
    given = {"every": 60, "target": clients.greet, "method_args": [1]}
    one, is_new = rows.get_or_create(name="one", defaults=given)
    assert is_new
    assert rows.get_or_create(name="one", defaults=given) == (one, False)
    again, is_new = rows.update_or_create(name="one", defaults=given | {"every": 90})
    assert (again.pk, is_new, row(store).every) == (one.pk, False, MINUTE * 1.5)


def test_it_is_paused_and_resumed(store):
    order = order_on(store)
    schedule = made(store, subject=order)
    schedule.pause()
    assert (schedule.is_paused, schedule.next_tick) == (True, None)
    schedule.update(every=90)
    assert row(store).next_tick is None
    schedule.resume()
    assert (schedule.is_paused, schedule.next_tick) == (False, row(store).next_tick)
    assert schedule.next_tick is not None
    about = Schedule.objects.using(store.database.alias).about(order)
    assert (about.pause(), about.pause(), about.resume()) == (1, 0, 1)
    assert about.get().subject == order
    about.delete()
    assert not store.database.schedules.exists()


def test_a_deleted_one_is_not_brought_back(store):
    schedule = made(store)
    row(store).delete()
    with pytest.raises(InvalidOption, match="deleted"):
        schedule.update(every=60)
    assert not store.database.schedules.exists()


def test_what_code_declares_is_changed_there(store):
    store.schedules.declare(declared())
    with pytest.raises(InvalidOption, match="declared in code; change it there"):
        row(store).update(cron="@daily")


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's writers exclude each other")
@pytest.mark.parametrize("act", ["pause", "delete", "update"])
def test_no_worker_waits_for_a_callers_open_transaction(store, sessions, act):
    schedule, _other = made(store), made(store)
    let_tick(store)
    worker = sessions()
    worker.be_impatient()
    with transaction.atomic(store.database.alias):
        if act == "update":
            schedule.update(every=90)
        else:
            getattr(schedule, act)()
        [ticked] = worker.do(store.schedules.enqueue_ticks, [])
        assert ticked.attempt is not None
    assert store.database.schedules.count() == (1 if act == "delete" else 2)
    assert store.schedules.enqueue_ticks([]) == []


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's writers exclude each other")
def test_a_change_waits_for_a_tick_that_is_enqueued_and_holds_after_it(store, sessions):
    made(store)
    let_tick(store)
    ticking, changing = sessions(), sessions()
    stale = row(store)
    future = ticking.start_and_stop_after(
        ("UPDATE", "next_tick"), store.schedules.enqueue_ticks, []
    )
    changed = changing.start(stale.update, every=90)
    ticking.go_on()
    assert len(future.result(60)) == 1
    changed.result(60)
    found = row(store)
    assert (found.every, found.last_attempt) == (MINUTE * 1.5, attempts(store)[0].pk)
    assert found.next_tick == found.when.after(store.database.now())
    assert found.arguments == Arguments(1)


@pytest.mark.only("postgresql", "mariadb", reason="SQLite's writers exclude each other")
def test_two_changes_at_once_are_both_sealed(store, sessions):
    made(store)
    first, second = sessions(), sessions()
    one, other = row(store), row(store)
    changing = first.start_and_stop_after(("SELECT", "num_skipped"), one.update, every=90)
    changed = second.start(other.update, overlap="skip")
    with suppress(TimeoutError):
        changed.result(1)
    first.go_on()
    changing.result(PATIENCE)
    changed.result(PATIENCE)
    found = row(store)
    assert (found.every, found.overlap) == (MINUTE * 1.5, "skip")
    assert found.arguments == Arguments(1)
