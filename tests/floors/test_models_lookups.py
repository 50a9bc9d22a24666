"""How attempts are found, and what a lookup says to words that aren't there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Q
from django.utils import timezone

from async_attempts import Attempt, call
from async_attempts.ids import uuid7
from async_attempts.lifecycle import Status
from async_attempts.models import DatabaseNow
from tests.shop import clients
from tests.shop.clients import OrderClient, PostedOrder

HOUR = timedelta(hours=1)


def enqueued(database: str, **options: Any) -> Any:
    return call(clients.send_welcome, 1).using(database=database, **options).enqueue()


def running(database: str) -> Any:
    row = enqueued(database)
    Attempt.objects.using(database).filter(pk=row.pk).update(claimed_by=uuid7())
    row.refresh_from_db()
    return row


@pytest.mark.parametrize(
    "lookup",
    [
        {"status": "running"},
        {"status__in": ["pending", "running"]},
        {"status__exact": "running"},
        {"status__gt": "running"},
    ],
)
def test_running_is_no_status_and_the_error_names_what_to_use(database: str, lookup: Any):
    with pytest.raises(ValueError, match=r"\.running\(\)"):
        Attempt.objects.using(database).filter(**lookup)
    with pytest.raises(ValueError, match=r"\.running\(\)"):
        Attempt.objects.using(database).exclude(Q(**lookup))


@pytest.mark.parametrize("lookup", [{"status": "done"}, {"status__in": ["failed", "done"]}])
def test_an_unknown_status_is_answered_with_the_known(database: str, lookup: Any):
    with pytest.raises(ValueError, match=r"'done'.*scheduled.*expired"):
        Attempt.objects.using(database).filter(**lookup)


def test_known_statuses_are_found(database: str):
    row, ended = enqueued(database), enqueued(database)
    ended.expire()
    attempts = Attempt.objects.using(database)
    assert attempts.get(status="pending") == row
    assert attempts.get(status=Status.EXPIRED) == ended
    assert attempts.filter(status__in=["pending", "expired"]).count() == 2


def test_pending_running_and_due(database: str):
    now, claimed = enqueued(database), running(database)
    overdue = enqueued(database, scheduled_at=HOUR)
    later = enqueued(database, scheduled_at=HOUR)
    ended = enqueued(database)
    ended.fail()
    attempts = Attempt.objects.using(database)
    # As when the hour has passed and no worker has promoted it.
    attempts.filter(pk=overdue.pk).update(scheduled_at=DatabaseNow() - HOUR)
    assert [*attempts.pending()] == [now]
    assert [*attempts.running()] == [claimed]
    assert {*attempts.due()} == {now, overdue}
    assert [*attempts.filter(status="scheduled", scheduled_at__gt=timezone.now())] == [later]


def test_state_is_the_status_but_for_what_runs(database: str):
    later, ended = enqueued(database, scheduled_at=HOUR), enqueued(database)
    ended.expire()
    assert [enqueued(database).state, later.state, ended.state] == [
        "pending",
        "scheduled",
        "expired",
    ]
    claimed = running(database)
    assert (claimed.state, claimed.status) == ("running", "pending")


def test_who_performed_it_does_not_make_an_ended_attempt_a_running_one(database: str):
    row = enqueued(database)
    row.perform()
    assert (row.state, row.claimed_by is None) == ("succeeded", False)
    assert not Attempt.objects.using(database).running()


def test_attempts_are_found_by_the_class_the_module_or_the_function_itself(database: str):
    welcome = enqueued(database)
    track = call(OrderClient.track, 1).using(database=database).enqueue()
    attempts = Attempt.objects.using(database)
    assert attempts.get(target=OrderClient) == track
    assert attempts.get(target=OrderClient.track) == track
    assert attempts.get(target=clients) == welcome
    assert attempts.get(target="tests.shop.clients") == welcome
    assert {*attempts.filter(target__in=[OrderClient, clients])} == {welcome, track}
    assert [*attempts.exclude(target=OrderClient)] == [welcome]


def test_attempts_are_found_by_the_instance_that_they_call(database: str):
    orders = [PostedOrder.objects.using(database).create(number=number) for number in (1, 2)]
    first, _ = [
        call(order.send_confirmation_email).using(database=database).enqueue() for order in orders
    ]
    attempts = Attempt.objects.using(database)
    assert attempts.filter(target=PostedOrder).count() == 2
    assert attempts.get(target=orders[0], target_pk=orders[0].pk) == first


def test_attempts_are_found_by_their_subject(database: str):
    order = PostedOrder.objects.using(database).create(number=1)
    about = enqueued(database, subject=order)
    enqueued(database)
    found = Attempt.objects.using(database).filter(
        subject_type="shop.postedorder", subject_id=order.pk
    )
    assert [*found] == [about]
