"""Ticks, as workers enqueue them: on time, cheaply, and not for ever."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.core.management import call_command

from async_attempts import Arguments, Attempt, recurring, schedules, signals
from async_attempts.models import Schedule
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from async_attempts.worker.loop import poller as pollers
from async_attempts.worker.loop.poller import Poller
from async_attempts.worker.loop.queue_filter import QueueFilter
from async_attempts.worker.maintenance import schedule_ticks
from async_attempts.worker.maintenance.maintenance import Maintenance
from async_attempts.worker.maintenance.schedule_ticks import DECLARE_INTERVAL, ScheduleTicks
from async_attempts.worker.shared.options import LONGEST_POLL
from tests.shop import effects
from tests.shop.models import Order
from tests.worker.helpers.attempts import drain
from tests.worker.helpers.processes import until
from tests.worker.loop.test_poller import Idle


@pytest.fixture(autouse=True)
def _nothing_declared(monkeypatch):
    monkeypatch.setattr(schedules, "_in_code", {})


@pytest.fixture
def moment(monkeypatch):
    """The time by the worker's clock, which stands still."""
    moment = [1000.0]
    for module in (schedule_ticks, pollers):
        monkeypatch.setattr(module, "now", lambda: moment[0])
    return moment


@pytest.fixture
def recorded(at_home):
    """A store with one schedule, whose next tick is in an hour."""
    recurring("0 0 1 1 *", name="yearly", method_args=["ticked"])(effects.record)
    store = store_for(at_home)
    schedules.declare(store)
    next_tick_in(store, 3600)
    return store


def next_tick_in(store, seconds):
    store.database.schedules.update(next_tick=seconds_from_now(seconds))


def looked(store):
    poller = Poller(store, QueueFilter(("default",)), Idle(600.0))
    poller.took(0, 1)
    poller.poll(has_room=True)
    return poller


def test_an_idle_worker_sleeps_until_the_next_tick(recorded, moment):
    next_tick_in(recorded, 2)
    poller = looked(recorded)
    assert 1 < poller.seconds <= 2.1
    assert moment[0] + 1 < poller.next_tick_at <= moment[0] + 2.01


def test_a_tick_that_stays_due_keeps_no_worker_awake(recorded, moment):
    next_tick_in(recorded, -100)
    assert looked(recorded).seconds == LONGEST_POLL


def test_before_the_next_tick_no_statement_is_made(recorded, moment, django_assert_num_queries):
    one = ScheduleTicks(recorded)
    assert not one.tick(None)
    with django_assert_num_queries(0, using=recorded.database.alias):
        for at in (None, moment[0] + 1):
            assert not one.tick(at)


def test_a_due_tick_is_enqueued(recorded, moment):
    next_tick_in(recorded, -1)
    one = Maintenance(recorded)
    assert one.tick(has_late_workers=False, late_at=0.0, next_tick_at=looked(recorded).next_tick_at)
    assert recorded.database.attempts.get().schedule == "yearly"


def test_what_it_may_not_enqueue_is_asked_for_ever_more_seldom(
    recorded, moment, django_assert_max_num_queries
):
    next_tick_in(recorded, -1)
    schedules._in_code.clear()
    one = ScheduleTicks(recorded)
    one.tick(None)
    with django_assert_max_num_queries(24, using=recorded.database.alias):
        for _ in range(50):
            one.tick(moment[0])
            moment[0] += 1.0
    assert not recorded.database.attempts.exists()


def test_what_can_not_be_enqueued_is_logged(recorded, moment, caplog):
    next_tick_in(recorded, -1)
    one = ScheduleTicks(recorded)
    one.tick(None)
    recorded.database.schedules.update(target="tests.shop.effects.nothing")
    with caplog.at_level(logging.ERROR):
        assert not one.tick(moment[0])
        moment[0] += 5
        assert not one.tick(moment[0])
    assert caplog.text.count("schedule yearly: a tick can't be enqueued: ") == 1


@pytest.fixture
def stuck(recorded, moment):
    """A worker that has tried in vain for a while: a schedule's target is gone."""
    recurring("0 0 1 1 *", name="stuck", method_args=["gone"])(effects.record)
    one = ScheduleTicks(recorded)
    one.tick(None)
    one._next_declaring = float("inf")
    gone = {"target": "tests.shop.effects.nothing", "next_tick": seconds_from_now(-1)}
    recorded.database.schedules.filter(name="stuck").update(**gone)
    for _ in range(12):
        assert not one.tick(moment[0])
        moment[0] = max(moment[0], one._not_before)
    return one


def test_what_stays_due_does_not_hold_up_the_others(recorded, moment, stuck):
    recorded.database.schedules.filter(name="yearly").update(next_tick=seconds_from_now(2))
    moment[0] += schedule_ticks.LONGEST_PAUSE
    assert not stuck.tick(moment[0])
    recorded.database.schedules.filter(name="yearly").update(next_tick=seconds_from_now(0))
    moment[0] += 1
    assert not stuck.tick(moment[0])
    moment[0] += 1.1
    assert stuck.tick(moment[0])
    assert recorded.database.attempts.get().schedule == "yearly"


def test_who_comes_too_late_for_ticks_is_in_time_for_the_next(recorded, moment):
    one, other = ScheduleTicks(recorded), ScheduleTicks(recorded)
    for each in (one, other):
        each.tick(None)
    for _ in range(20):
        next_tick_in(recorded, -1)
        assert one.tick(moment[0])
        assert not other.tick(moment[0])
        moment[0] += 10
    next_tick_in(recorded, -1)
    assert other.tick(moment[0])


def test_what_a_receiver_raises_ends_no_worker(recorded, moment, caplog):
    recurring("0 0 1 1 *", name="refused", method_args=["no"])(effects.record)
    one = ScheduleTicks(recorded)
    one.tick(None)
    next_tick_in(recorded, -1)

    def refuse(attempt, **named):
        if attempt.schedule == "refused":
            raise LookupError("a secret")

    signals.enqueued.connect(refuse)
    try:
        with caplog.at_level(logging.ERROR):
            assert one.tick(moment[0])
    finally:
        signals.enqueued.disconnect(refuse)
    assert recorded.database.attempts.get().schedule == "yearly"
    assert "schedule refused: a tick can't be enqueued: LookupError" in caplog.text
    assert "a secret" not in caplog.text


def test_what_code_declares_is_declared_once_a_minute(recorded, moment):
    one = ScheduleTicks(recorded)
    one.tick(None)
    recorded.database.schedules.all().delete()
    moment[0] += DECLARE_INTERVAL - 1
    one.tick(None)
    assert not recorded.database.schedules.exists()
    moment[0] += 1
    one.tick(None)
    assert recorded.database.schedules.exists()


def test_a_drain_enqueues_what_is_due_once_and_performs_it(recorded):
    next_tick_in(recorded, -1)
    drain(recorded.database.alias)
    assert effects.seen == [("function", ("ticked",), {})]
    [attempt] = Attempt.objects.using(recorded.database.alias)
    assert (attempt.schedule, attempt.status) == ("yearly", "succeeded")


def test_a_drain_does_not_wait_for_what_comes_each_second(at_home):
    recurring("* * * * * *", name="each second", method_args=["ticked"])(effects.record)
    store = store_for(at_home)
    schedules.declare(store)
    next_tick_in(store, -1)
    drain(at_home)
    assert len(effects.seen) == 1
    next_tick = store.database.schedules.get().next_tick
    assert next_tick
    assert next_tick > store.database.now() - timedelta(seconds=20)


def test_a_worker_that_goes_on_enqueues_what_comes(at_home):
    recurring("* * * * * *", name="each second", method_args=["ticked"])(effects.record)
    call_command("run_attempts", stop_after=2, database=at_home, verbosity=0)
    ticks = list(Attempt.objects.using(at_home).values_list("scheduled_at", flat=True))
    assert len(ticks) >= 2
    assert len({*ticks}) == len(ticks)
    assert all(tick.microsecond == 0 for tick in ticks)


@pytest.mark.django_db(transaction=True, databases=["default", "postgresql"])
def test_workers_of_two_databases_enqueue_each_tick_once():
    recurring("* * * * *", name="each minute", method_args=["ticked"])(effects.record)
    workers = [ScheduleTicks(store_for(alias)) for alias in ("default", "postgresql")]
    for each in workers:
        each.tick(None)
        next_tick_in(each.store, -1)
    assert [each.enqueue() for each in workers] == [True, False]
    assert not workers[1].store.database.schedules.exists()


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one process")
def test_several_processes_enqueue_each_tick_once(database, workers):
    row = Schedule(
        name="each second", cron="* * * * * *", timezone="UTC", target="tests.shop.effects.record"
    )
    row.seal(Arguments())
    store_for(database).schedules.put(row)
    arguments = ("--database", database, "--processes", "2", "--threads", "1")
    started = [workers.start(*arguments) for _ in range(2)]
    done = Attempt.objects.using(database).filter(status="succeeded", schedule="each second")
    until(lambda: done.count() >= 4, *started)
    ticks = list(Attempt.objects.using(database).values_list("scheduled_at", flat=True))
    assert len({*ticks}) == len(ticks)


def test_a_schedule_whose_subject_is_gone_is_deleted_and_says_so(at_home, caplog):
    store = store_for(at_home)
    order = Order.objects.using(at_home).create(number=1)
    rows = Schedule.objects.using(at_home)
    rows.create(name="for an order", every=60, target=effects.record, subject=order)
    next_tick_in(store, -1)
    label = f"shop.order {order.pk}"
    order.delete()
    with caplog.at_level(logging.INFO, "async_attempts"):
        assert not ScheduleTicks(store).enqueue()
    assert f"schedule for an order: deleted: {label} does not exist any more" in caplog.text
    assert not rows.exists()


def test_a_schedule_for_an_object_is_performed_as_any_other(at_home):
    order = Order.objects.using(at_home).create(number=1)
    rows = Schedule.objects.using(at_home)
    rows.create(every=60, target=effects.record, method_args=[order.pk], subject=order)
    next_tick_in(store_for(at_home), -1)
    drain(at_home)
    assert effects.seen == [("function", (order.pk,), {})]
