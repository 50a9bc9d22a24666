"""Reports of schedules that ticked twice, at another time, or not at all."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from async_attempts.cron import Cron
from async_attempts.models import DatabaseNow
from async_attempts.payload import Arguments
from async_attempts.targets.declared_schedule import DeclaredSchedule
from tests.store.sessions import at_once

NAME = "report"

REPORTED = {
    "agronholm/apscheduler#606: the day after the night of the change was left out": (
        ("0 0 * * *", "US/Pacific", "2022-03-12 12:00"),
        ["13 00:00", "14 00:00", "15 00:00"],
    ),
    "celery/celery#1604: on the day of the change at 11:00, and at 12:00 again": (
        ("0 12 * * *", "Europe/Amsterdam", "2013-10-26 13:00"),
        ["27 12:00", "28 12:00"],
    ),
    "celery/django-celery-beat#134: an hour late on the day of the change": (
        ("4 16 * * *", "America/New_York", "2025-03-08 12:00"),
        ["08 16:04", "09 16:04", "10 16:04"],
    ),
    "celery/celery#10107: in the hour that comes twice only once": (
        ("0 * * * *", "US/Pacific", "2026-11-01 00:30"),
        ["01 01:00", "01 01:00", "01 02:00"],
    ),
    "gawel/aiocron#28: twice on the day of the change": (
        ("0 10 * * *", "America/New_York", "2022-03-12 12:00"),
        ["13 10:00", "14 10:00"],
    ),
}
"""What was reported; the schedule, and since when; its ticks as a clock there shows them."""


@pytest.mark.parametrize("report", REPORTED)
def test_clocks_that_are_changed_neither_add_nor_lose_a_tick(report):
    (expression, timezone, begin), expected = REPORTED[report]
    zone = ZoneInfo(timezone)
    after = datetime.fromisoformat(begin).replace(tzinfo=zone)
    ticks = Cron(expression, timezone).upcoming(len(expected), after)
    assert [f"{tick.astimezone(zone):%d %H:%M}" for tick in ticks] == expected


def test_a_tick_of_several_workers_is_one_attempt(store):
    """coleifer/huey#716, coleifer/huey#567: each of four pods enqueues every periodic task."""
    target = "tests.shop.clients.greet"
    declared = DeclaredSchedule(name=NAME, cron="0 0 1 1 *", target=target, arguments=Arguments(1))
    store.schedules.declare({NAME: declared})
    store.database.schedules.filter(name=NAME).update(next_tick=DatabaseNow())
    at_once(4, lambda _: store.schedules.enqueue_ticks([NAME]))
    assert store.database.attempts.filter(schedule=NAME).count() == 1
