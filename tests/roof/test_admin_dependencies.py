"""The page of an attempt shows what it waits for, and what waits for it."""

from __future__ import annotations

from django.db import connection
from django.test.utils import CaptureQueriesContext

from async_attempts import call
from async_attempts.models import Attempt
from tests.roof.admin_pages import attempt_in, logged_in, operator, page_of
from tests.shop import clients


def enqueued_group(size):
    """What waits for a group of this size, and the group."""
    group = [call(clients.send_welcome, n).enqueue() for n in range(size)]
    last = call(clients.send_welcome, 7).using(depends_on=[(one, "any") for one in group])
    return last.enqueue(), group


def test_what_stands_alone_shows_nothing(db):
    page = operator().get(page_of(attempt_in("pending"))).content.decode()
    assert "Depends on" not in page
    assert "On it depend" not in page


def test_both_sides_are_linked(db):
    last, [first, second] = enqueued_group(2)
    second.expire()
    client = operator()
    page = client.get(page_of(last)).content.decode()
    assert "Depends on" in page
    assert "On it depend" not in page
    assert all(page_of(one) in page for one in (first, second))
    assert "ended" in page
    page = client.get(page_of(first)).content.decode()
    assert "Depends on" not in page
    assert "On it depend" in page
    assert page_of(last) in page


def test_what_is_gone_is_told_by_its_id(db):
    last, [first] = enqueued_group(1)
    Attempt._base_manager.filter(pk=first.pk).delete()
    assert str(first.pk) in operator().get(page_of(last)).content.decode()


def test_many_cost_no_more_queries_than_few(db):
    def queries(size):
        last, _ = enqueued_group(size)
        client = logged_in("view_attempt")
        client.get(page_of(last))
        with CaptureQueriesContext(connection) as asked:
            page = client.get(page_of(last)).content.decode()
        return len(asked), page

    few, _ = queries(1)
    many, page = queries(60)
    assert few == many
    assert "The first 50 are shown" in page
