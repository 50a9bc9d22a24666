"""Options: the target's own by default, the caller's where it says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.conf import settings as django_settings

from async_attempts import Attempt, InvalidOption, call
from tests.shop import endings
from tests.shop.clients import OrderClient
from tests.shop.models import Order
from tests.shop.reports import recount, report

HOUR = timedelta(hours=1)
NEAR = timedelta(minutes=1)
"""How far the database's clock may be from this process's."""


def enqueue(database: str, target: Callable[..., Any], **options: Any) -> Any:
    return call(target).using(database=database, **options).enqueue()


def create(database: str, target: Callable[..., Any], **options: Any) -> Any:
    return Attempt.objects.using(database).create(target=target, **options)


both = pytest.mark.parametrize("write", [enqueue, create])


def stored(row: Any) -> Any:
    return Attempt.objects.using(row._state.db).get(pk=row.pk)


@both
def test_what_the_target_says_is_the_default(database: str, write: Any):
    row = stored(write(database, report))
    assert (row.queue, row.priority, row.keep_result) == ("emails", 50, True)
    assert row.status == "scheduled"
    assert row.scheduled_at - row.created_at == pytest.approx(2 * HOUR, abs=NEAR)
    assert row.expires_at - row.created_at == pytest.approx(4 * HOUR, abs=NEAR)


@both
def test_what_the_caller_says_wins(database: str, write: Any):
    moment = datetime(2099, 1, 2, tzinfo=UTC)
    row = stored(
        write(
            database,
            report,
            queue="default",
            priority=0,
            keep_result=False,
            scheduled_at=timedelta(0),
            expires_at=moment,
        )
    )
    assert (row.queue, row.priority, row.keep_result) == ("default", 0, False)
    assert (row.status, row.expires_at) == ("pending", moment)


@both
def test_what_nobody_says_is_left_to_the_settings(database: str, write: Any):
    row = stored(write(database, OrderClient.name_class))
    assert (row.queue, row.priority, row.keep_result) == ("default", 0, False)
    assert (row.max_attempts, row.timeout, row.expires_at) == (None, None, None)


def test_executions_and_timeout_of_the_code_are_not_copied_into_the_row(database: str):
    """So that a deploy changes them for what is enqueued already."""
    row = stored(enqueue(database, recount))
    assert (row.priority, row.max_attempts, row.timeout) == (7, None, None)
    row = stored(enqueue(database, recount, max_attempts=5, timeout=timedelta(minutes=1)))
    assert (row.max_attempts, row.timeout) == (5, 60)


@pytest.mark.parametrize(
    ("given", "number"), [("low", -50), ("normal", 0), ("high", 50), (-100, -100), (100, 100)]
)
@both
def test_a_priority_is_a_number_or_a_name(database: str, write: Any, given: Any, number: int):
    assert stored(write(database, recount, priority=given)).priority == number


def test_a_projects_own_names_of_priorities(database: str, settings: Any):
    settings.ASYNC_ATTEMPTS = django_settings.ASYNC_ATTEMPTS | {"PRIORITIES": {"urgent": 99}}
    assert enqueue(database, recount, priority="urgent").priority == 99


@both
def test_an_aware_datetime_of_any_zone(database: str, write: Any):
    moment = datetime(
        2099, 6, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=5, minutes=30))
    )
    row = stored(write(database, recount, scheduled_at=moment, expires_at=moment + HOUR))
    assert (row.scheduled_at, row.expires_at) == (moment, moment + HOUR)
    assert row.status == "scheduled"


@both
def test_a_timedelta_counts_from_the_databases_now(database: str, write: Any):
    row = stored(write(database, recount, scheduled_at=HOUR, expires_at=2 * HOUR))
    assert row.scheduled_at - row.created_at == pytest.approx(HOUR, abs=NEAR)
    assert row.expires_at - row.scheduled_at == pytest.approx(HOUR, abs=NEAR)
    assert row.status == "scheduled"


@pytest.mark.parametrize(
    "past", [timedelta(0), -HOUR, datetime(2001, 1, 1, tzinfo=UTC)], ids=["0", "delta", "moment"]
)
@both
def test_what_is_due_already_is_pending(database: str, write: Any, past: Any):
    row = write(database, recount, scheduled_at=past)
    assert row.status == stored(row).status == "pending"
    assert [*Attempt.objects.using(database).due()] == [row]


def test_metadata_is_stored_in_clear(database: str):
    metadata = {"trace": "00-ab", "tags": ["ä", 1, None, {"x": 1.5}], "backslash": "\\u00e4"}
    assert stored(enqueue(database, recount, metadata=metadata)).metadata == metadata


def test_the_subject_is_any_saved_instance(database: str):
    order = Order.objects.using(database).create(number=1)
    assert stored(enqueue(database, recount, subject=order)).subject == order
    assert stored(create(database, recount, subject=order)).subject == order
    assert stored(enqueue(database, recount, subject=None)).subject is None


def test_using_adds_to_what_was_said_and_leaves_the_first_call_alone(database: str):
    first = call(recount).using(database=database, priority=1, queue="emails")
    second = first.using(priority=2)
    rows = [first.enqueue(), second.enqueue()]
    assert [(row.priority, row.queue) for row in rows] == [(1, "emails"), (2, "emails")]


def test_a_call_may_be_enqueued_more_than_once(database: str):
    twice = call(report, note="x").using(database=database)
    rows = [twice.enqueue(), twice.enqueue()]
    assert rows[0] != rows[1]
    assert [stored(row).method_args for row in rows] == [{"note": "x"}] * 2


def test_an_old_name_of_a_moved_target_is_written_as_the_present_one(database: str):
    row = Attempt.objects.using(database).create(target="tests.shop.before.greet", method_args=[1])
    assert (row.target, row.method_name) == ("tests.shop.clients", "greet")


@both
@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        ("QUEUES", r"^backoff: queue: 'emails' is not declared"),
        ("PRIORITIES", r"^backoff: priority: 'low' is not a name in PRIORITIES"),
    ],
)
def test_where_a_backoff_sends_retries_must_be_declared(
    database: str, write: Any, settings: Any, left_out: str, message: str
):
    without: dict[str, Any] = {"QUEUES": {"default": {}}, "PRIORITIES": {"urgent": 90}}
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, left_out: without[left_out]}
    with pytest.raises(InvalidOption, match=message):
        write(database, endings.send)
    assert not Attempt.objects.using(database).exists()
