"""Lookups by subject, on each database: any form of a query takes the instance."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import connections
from django.db.models import Case, Count, Q, Value, When
from django.test.utils import CaptureQueriesContext

from async_attempts import Attempt, call, enqueue_many
from async_attempts.exceptions import InvalidOption
from async_attempts.models import Failure
from tests.shop import clients
from tests.shop.clients import PostedOrder
from tests.shop.models import Customer, Order
from tests.shop.unsaved import new_attempt


class About:
    """Two orders and a customer with the same primary key, and attempts about them or none."""

    def __init__(self, database: str) -> None:
        self.attempts = Attempt.objects.using(database)
        self.order, self.other = (Order.objects.using(database).create(number=n) for n in (1, 2))
        self.customer = Customer.objects.using(database).create(pk=self.order.pk, name="Ada")
        self.of_order, self.of_other, self.of_customer, self.of_none = (
            call(clients.greet, 1).using(database=database, subject=subject).enqueue()
            for subject in (self.order, self.other, self.customer, None)
        )


@pytest.fixture
def about(database: str) -> About:
    return About(database)


def test_an_instance_finds_the_attempts_about_it(about: About):
    assert [*about.attempts.about(about.order)] == [about.of_order]
    assert [*about.attempts.filter(subject=about.order)] == [about.of_order]
    assert about.attempts.get(subject=about.order) == about.of_order


def test_several_instances_of_any_models_are_looked_up_at_once(about: About):
    wanted = {about.of_order, about.of_other, about.of_customer}
    assert {*about.attempts.about(about.order, about.other, about.customer)} == wanted
    assert {*about.attempts.filter(subject__in=[about.order, about.customer])} == {
        about.of_order,
        about.of_customer,
    }
    assert not about.attempts.about()
    assert not about.attempts.filter(subject__in=[])


def test_what_is_excluded_leaves_the_rest_and_what_is_about_nothing(about: About):
    rest = {about.of_other, about.of_customer, about.of_none}
    assert {*about.attempts.exclude(subject=about.order)} == rest
    assert {*about.attempts.filter(~Q(subject=about.order))} == rest
    two = [about.order, about.customer]
    assert {*about.attempts.exclude(subject__in=two)} == {about.of_other, about.of_none}


def test_none_is_about_nothing(about: About):
    assert [*about.attempts.filter(subject=None)] == [about.of_none]
    assert about.attempts.filter(subject__isnull=False).count() == 3
    assert about.attempts.exclude(subject=None).count() == 3


def test_it_goes_with_other_conditions(about: About):
    about.of_order.fail()
    assert not about.attempts.about(about.order).live()
    assert about.attempts.about(about.order).filter(status="failed").get() == about.of_order
    either = Q(subject=about.other) | Q(status="failed")
    assert {*about.attempts.filter(either)} == {about.of_order, about.of_other}
    told = Case(When(subject=about.order, then=Value("mine")), default=Value("theirs"))
    counted = about.attempts.values(whose=told).annotate(n=Count("pk")).order_by("whose")
    assert [*counted] == [{"whose": "mine", "n": 1}, {"whose": "theirs", "n": 3}]


def test_a_relation_leads_through(database: str, about: About):
    row = call(clients.OrderClient.track, 1).using(database=database, subject=about.order)
    Failure._base_manager.using(database).create(
        attempt=row.enqueue(), number=1, kind="error", details=b"", failed_at="2026-01-01T00:00Z"
    )
    failures = Failure._base_manager.using(database)
    assert failures.filter(attempt__subject=about.order).count() == 1
    assert not failures.filter(attempt__subject=about.other)
    assert failures.exclude(attempt__subject=about.order).count() == 0


def test_a_proxy_is_the_same_object(database: str, about: About):
    posted = PostedOrder.objects.using(database).get(pk=about.order.pk)
    more = call(clients.greet, 1).using(database=database, subject=posted).enqueue()
    for same in (posted, about.order):
        assert {*about.attempts.about(same)} == {about.of_order, more}


def test_a_row_that_is_made_or_found_by_its_subject(database: str, about: About):
    row, created = about.attempts.get_or_create(target=clients.greet, subject=about.order)
    assert (row, created) == (about.of_order, False)
    order = Order.objects.using(database).create(number=3)
    row, created = about.attempts.get_or_create(
        target=clients.greet,
        subject=order,
        defaults={"method_args": [1]},  # type: ignore[misc]
    )
    assert created
    assert about.attempts.about(order).get() == row


@pytest.mark.parametrize("subject", [7, "shop.order", Order(number=1), Order, Attempt.objects])
def test_only_a_saved_instance_can_be_looked_up(subject: Any):
    for lookup in ({"subject": subject}, {"subject__in": [subject]}, {"subject__in": subject}):
        with pytest.raises(InvalidOption, match="subject"):
            Attempt.objects.filter(**lookup)
    with pytest.raises(InvalidOption, match="subject"):
        Attempt.objects.about(subject)
    with pytest.raises(InvalidOption, match="subject"):
        Attempt.objects.about(None)  # type: ignore[arg-type]


def test_a_queryset_has_to_be_a_list(about: About):
    orders = Order.objects.all()
    for query in ({"subject__in": orders}, {"subject": orders}):
        with pytest.raises(InvalidOption, match=r"of a queryset make a list|saved model instance"):
            about.attempts.filter(**query)


@pytest.mark.django_db
def test_it_has_no_column_to_be_selected():
    with pytest.raises(FieldError, match="select subject_type and subject_id"):
        str(Attempt.objects.values("subject").query)


def test_its_index_finds_them(database: str, about: About):
    enqueue_many([call(clients.greet, n).using(database=database) for n in range(300)])
    orders = [about.order, about.other, about.customer]
    for rows in (about.attempts.about(orders[0]), about.attempts.about(*orders)):
        assert "aa_attempt_subject" in _plan(rows, database)


def _plan(rows: Any, database: str) -> str:
    connection = connections[database]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET enable_seqscan = off")
    try:
        return str(rows.explain())
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("RESET enable_seqscan")


def test_live_are_those_that_have_not_ended(about: About):
    about.of_order.expire()
    assert {*about.attempts.live()} == {about.of_other, about.of_customer, about.of_none}


def test_the_latest_ended_is_the_one_that_ended_last(database: str, about: About):
    mine = about.attempts.about(about.order)
    assert mine.latest_ended() is None
    second = call(clients.greet, 2).using(database=database, subject=about.order).enqueue()
    second.fail()
    about.of_order.expire()
    about.of_other.expire()
    assert mine.latest_ended() == about.of_order


def test_the_method_of_an_instance_is_about_it(database: str):
    order = PostedOrder.objects.using(database).create(number=1)
    mine = Attempt.objects.using(database).about(order)
    method = order.send_confirmation_email
    call(method).using(database=database).enqueue()
    rows = [call(method).using(database=database) for _ in range(2)]
    enqueue_many(rows)
    mine.create(target=order, method_name="send_confirmation_email")
    mine.bulk_create([new_attempt(target=method)])
    assert mine.count() == 5
    assert {(row.subject_type, row.subject) for row in mine} == {("shop.postedorder", order)}


def test_what_the_caller_says_of_a_subject_wins(database: str):
    order = PostedOrder.objects.using(database).create(number=1)
    customer = Customer.objects.using(database).create(name="Ada")
    method, attempts = order.send_confirmation_email, Attempt.objects.using(database)
    for subject in (customer, None):
        rows = [
            call(method).using(database=database, subject=subject).enqueue(),
            attempts.create(target=method, subject=subject),
            *attempts.bulk_create([new_attempt(target=method, subject=subject)]),
        ]
        assert [row.subject for row in rows] == [subject] * 3
        assert {attempts.get(pk=row.pk).subject for row in rows} == {subject}


def test_a_function_is_about_nothing_and_costs_one_statement(database: str):
    with CaptureQueriesContext(connections[database]) as queries:
        row = call(clients.greet, 1).using(database=database).enqueue()
    assert len(queries) == 1
    assert row.subject_type is None
