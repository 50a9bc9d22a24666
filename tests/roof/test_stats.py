"""`stats()`: what there is to do, and what was done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from math import inf

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import connections

import async_attempts.statistics
from async_attempts import (
    Attempt,
    Executions,
    InvalidOption,
    Stats,
    astats,
    call,
    parallel,
    stats,
)
from async_attempts.models import DatabaseNow
from async_attempts.models.tally import BUCKETS, NUMBERS
from async_attempts.statistics import percentile
from async_attempts.store import Tallied, store_for
from async_attempts.store.rows import seconds_from_now
from tests.shop import effects
from tests.store.rows import a_moment, enqueued, multiply, one_in_each_state, put, registered
from tests.store.test_plans import SQL, observed
from tests.worker.helpers.attempts import drain

GREET = "tests.shop.clients.greet"


def test_a_submodule_does_not_hide_the_function():
    assert callable(async_attempts.stats)
    assert async_attempts.statistics.stats is async_attempts.stats


def test_what_has_not_ended_is_counted_by_queue(database):
    store = store_for(database)
    worker = registered(store)
    one_in_each_state(store, worker)
    store.attempts.filter(status="waiting").delete()
    later = enqueued(store, 2, scheduled_at=timedelta(hours=1))
    suspect, mail = *enqueued(store, 1), *enqueued(store, 1, queue="emails")
    put(store, suspect, num_crashes=1)
    put(store, mail, scheduled_at=seconds_from_now(-500))

    now = stats(database=database)
    queue, emails = now.queues["default"], now.queues["emails"]
    # One of them is scheduled, and due already.
    assert (queue.scheduled, queue.pending, queue.suspects) == (len(later), 3, 1)
    assert (queue.running, queue.failed, queue.expired) == (1, 1, 1)
    assert (emails.pending, emails.running, now.workers) == (1, 0, 1)
    assert 500 <= emails.latency < 560
    assert 0 <= queue.latency < 60
    assert now.queues["fulfilment"].pending == 0
    assert list(now.queues) == ["default", "emails", "fulfilment"]
    assert now.queues["fulfilment"].executions == Executions()


def test_what_is_due_counts_even_if_no_worker_promotes_it(database):
    store = store_for(database)
    [attempt] = enqueued(store, scheduled_at=timedelta(hours=1))
    put(store, attempt, scheduled_at=seconds_from_now(-300))
    queue = stats(database=database).queues["default"]
    assert (queue.scheduled, queue.pending) == (0, 1)
    assert 300 <= queue.latency < 360


def test_what_waits_for_others_is_counted_once(database):
    one, other = (call(effects.record).using(database=database) for _ in range(2))
    last = call(effects.record).using(database=database, queue="emails")
    parallel(one, other).then(last).enqueue()
    queues = stats(database=database).queues
    assert (queues["default"].pending, queues["default"].waiting) == (2, 0)
    assert (queues["emails"].pending, queues["emails"].waiting) == (0, 1)


def test_only_what_ended_badly_within_the_window_is_told(database):
    store = store_for(database)
    old, new = enqueued(store, 2)
    put(store, old, status="failed", completed_at=seconds_from_now(-7200))
    put(store, new, status="failed", completed_at=seconds_from_now(-60))
    hours = (1, 3)
    failed = [stats(database=database, window=timedelta(hours=h)) for h in hours]
    assert [one.queues["default"].failed for one in failed] == [1, 2]


def test_a_drain_is_told_right_after_it(database, monkeypatch):
    outcomes = iter([None, None, LookupError(), None])

    def action():
        if error := next(outcomes):
            raise error

    monkeypatch.setattr(effects, "action", action)
    for target in (effects.act, effects.act, effects.act_thrice, effects.act_by_mail):
        call(target).using(database=database).enqueue()
    drain(database, queues="default")
    monkeypatch.setattr(effects, "action", effects.nothing)
    drain(database, queues="default")
    drain(database, queues="emails")

    now = stats(database=database)
    done, mails = now.queues["default"].executions, now.queues["emails"].executions
    assert (done.succeeded, done.retried, done.failed, done.expired) == (3, 1, 0, 0)
    assert (mails.succeeded, mails.total, done.total) == (1, 1, 4)
    assert done.per_minute == pytest.approx(4 * mails.per_minute)
    assert 60 <= 4 / done.per_minute <= 61.1
    assert {target: one.total for target, one in now.targets.items()} == {
        "tests.shop.effects.act": 2,
        "tests.shop.effects.act_thrice": 2,
        "tests.shop.effects.act_by_mail": 1,
    }
    assert 0 <= (done.mean_wait or 0.0) < 60
    assert 0 < (done.mean_run or 0.0) < 5
    assert 0 < (done.p50_run or 0.0) <= (done.p95_run or 0.0)
    assert now.workers == 0


def test_times_are_means_over_all_that_was_tallied(database):
    store = store_for(database)
    zeros = [0] * len(BUCKETS)
    fast, slow = [8, 2.0, 0.8, *zeros], [2, 3.0, 9.2, *zeros]
    fast[NUMBERS.index("to_100ms")], slow[NUMBERS.index("to_10s")] = 8, 2
    store.add_tallies({Tallied("default", GREET, "succeeded"): fast})
    store.add_tallies({Tallied("emails", GREET, "failed"): slow})
    told = stats(database=database).targets[GREET]
    assert (told.succeeded, told.failed, told.total) == (8, 2, 10)
    assert told.mean_wait == pytest.approx(0.5)
    assert told.mean_run == pytest.approx(1.0)
    assert told.p50_run == pytest.approx(0.03 + 0.07 * 5 / 8)
    assert told.p95_run == pytest.approx(3 + 7 * 1.5 / 2)


def test_older_tallies_are_outside_of_the_window(database):
    store = store_for(database)
    store.add_tallies({Tallied("default", GREET, "succeeded"): [1] * len(NUMBERS)})
    store.tallies.update(minute=store.now() - timedelta(minutes=30))
    assert stats(database=database, window=timedelta(minutes=10)).targets == {}
    assert stats(database=database, window=timedelta(minutes=40)).targets[GREET].succeeded == 1


def test_the_rate_is_over_the_minutes_that_were_counted(database):
    store = store_for(database)
    store.add_tallies({Tallied("default", GREET, "succeeded"): [60, *[0.0] * 2, 60, *[0] * 11]})
    rate = stats(database=database, window=timedelta(seconds=1)).targets[GREET].per_minute
    # A window of a second is the whole minute in which it begins.
    assert rate >= 60 / (61 / 60)


@pytest.mark.parametrize("window", [timedelta(), timedelta(days=31), 60, None])
def test_a_window_is_a_time_that_is_kept(window):
    with pytest.raises(InvalidOption, match=r"^window: "):
        stats(window=window)


@pytest.mark.parametrize(
    ("histogram", "share", "seconds"),
    [
        ({0.001: 1}, 0.5, 0.0005),
        ({0.001: 1, 0.003: 1}, 0.5, 0.001),
        ({0.001: 99, 100.0: 1}, 0.995, 65.0),
        ({inf: 4}, 0.5, 100.0),
        ({0.03: 1, inf: 1}, 0.95, 100.0),
    ],
)
def test_percentiles_are_interpolated(histogram, share, seconds):
    numbers = [histogram.get(bound, 0) for bound in BUCKETS.values()]
    assert percentile(numbers, share) == pytest.approx(seconds)


@pytest.mark.only("sqlite", reason="the thread is the same everywhere")
def test_async_code_has_it_too(database):
    enqueued(store_for(database), 2)
    told = async_to_sync(astats)(database=database, window=timedelta(minutes=5))
    assert isinstance(told, Stats)
    assert (told.queues["default"].pending, told.window) == (2, timedelta(minutes=5))


def test_what_has_succeeded_is_not_read_however_much_it_is(database):
    store = store_for(database)
    [template] = enqueued(store)
    put(store, template, args=b"")
    multiply(store, template, 30_000, status="'succeeded'", completed_at=a_moment("-n", store))
    enqueued(store, 20, scheduled_at=timedelta(hours=1))
    failed = [one.pk for one in enqueued(store, 20)]
    store.attempts.filter(pk__in=failed).update(status="failed", completed_at=DatabaseNow())
    with connections[database].cursor() as cursor:
        cursor.execute(SQL[store.connection.vendor][0])
        now, statements = observed(store, lambda: stats(database=database))
        queue = now.queues["default"]
        assert (queue.pending, queue.scheduled, queue.failed) == (1, 20, 20)
        assert len(statements) == 6
        for sql, params in statements:
            assert whole_tables_read(cursor, sql, params) == []


def whole_tables_read(cursor, sql, params):
    """Those steps of a statement's plan that read all attempts."""
    table = Attempt._meta.db_table
    vendor = cursor.db.vendor
    cursor.execute(f"{'EXPLAIN QUERY PLAN' if vendor == 'sqlite' else 'EXPLAIN'} {sql}", params)
    steps = cursor.fetchall()
    if vendor == "mysql":
        return [step for step in steps if step[2] == table and step[3] in {"ALL", "index"}]
    lines = [step[-1] for step in steps]
    words = f"SCAN {table}" if vendor == "sqlite" else f"Seq Scan on {table}"
    return [line for line in lines if words in line and "USING INDEX" not in line]


def told(*arguments):
    out = StringIO()
    call_command("attempts", "stats", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_tells_programs_all_of_it(database):
    store = store_for(database)
    enqueued(store, 2)
    store.add_tallies({Tallied("default", GREET, "succeeded"): [1] * len(NUMBERS)})
    figures = json.loads(told("--json", "--window", "15m", "--database", database))
    assert figures["queues"]["default"]["pending"] == 2
    assert figures["queues"]["default"]["executions"]["succeeded"] == 1
    assert figures["targets"][GREET]["mean_run"] == pytest.approx(1 / len(BUCKETS))
    assert (figures["window"], figures["workers"]) == (900.0, 0)


def test_the_command_tells_people_in_tables(database):
    store = store_for(database)
    [attempt] = enqueued(store, 1)
    put(store, attempt, scheduled_at=seconds_from_now(-3 * 3600))
    zeros = [0] * len(BUCKETS)
    store.add_tallies({Tallied("default", GREET, "retried"): [4, 2.0, 0.4, 4, *zeros[1:]]})
    lines = [line.split() for line in told("--database", database).splitlines()]
    assert ["default", "0", "1", "3.0", "h", "0", "0", "0", "0", "0"] in lines
    executed = ["0", "4", "0", "0", "0.1", "500", "ms", "100", "ms", "0", "ms", "1", "ms"]
    assert ["default", *executed] in lines
    assert [GREET, *executed] in lines
    assert lines[-1] == ["0", "workers", "are", "alive."]


def test_the_command_tells_of_one_worker(database):
    registered(store_for(database))
    told = StringIO()
    call_command("attempts", "stats", database=database, stdout=told)
    assert told.getvalue().endswith("\n1 worker is alive.\n")


def test_the_command_refuses_a_window_that_is_not_kept():
    with pytest.raises(CommandError, match="--window: window: must be"):
        told("--window", "31d")


@pytest.mark.slow
@pytest.mark.only("sqlite", reason="what is told is the same")
def test_who_reads_no_further_than_the_first_line_sees_no_traceback(database, child_environment):
    for command in ("stats", "queues", "events"):
        manage = [sys.executable, "-m", "django", "attempts", command]
        told = subprocess.Popen(
            manage, env=child_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert told.stdout is not None
        told.stdout.close()
        _, errors = told.communicate(timeout=60)
        assert (told.returncode, errors) == (128 + signal.SIGPIPE, "")
