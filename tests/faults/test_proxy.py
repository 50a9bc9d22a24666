"""The proxy cuts exactly where it is told to."""

from __future__ import annotations

import threading

import pytest
from django.db import Error, OperationalError, connections, transaction

from tests.faults.conftest import has_connections
from tests.shop.models import Order
from tests.worker.helpers.processes import PATIENCE, until

pytestmark = has_connections


def orders(database):
    return list(Order.objects.using(database).order_by("number").values_list("number", flat=True))


def create(database, number):
    with transaction.atomic(database):
        Order.objects.using(database).create(number=number)


def test_what_nobody_cuts_passes(database, proxied):
    for number in range(3):
        create(proxied, number)
    assert orders(database) == orders(proxied) == [0, 1, 2]


def test_a_commit_that_never_arrives_was_none(database, proxied, proxy):
    trap = proxy.cut("before", "^commit", nth=2)
    create(proxied, 1)
    with pytest.raises(Error):
        create(proxied, 2)
    assert trap.sprung.wait(PATIENCE)
    connections[proxied].close()
    create(proxied, 3)
    assert orders(database) == [1, 3]


def test_a_commit_whose_answer_is_lost_was_one(database, proxied, proxy):
    trap = proxy.cut("after", "^commit")
    with pytest.raises(Error):
        create(proxied, 1)
    assert trap.sprung.wait(PATIENCE)
    assert orders(database) == [1]


def test_a_commit_is_told_from_others_by_what_it_follows(database, proxied, proxy):
    proxy.cut("before", "^commit", following="values .2")
    create(proxied, 1)
    with pytest.raises(Error):
        create(proxied, 2)
    assert orders(database) == [1]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_statement_in_autocommit_is_cut_by_its_text(database, proxied, proxy, when):
    proxy.cut(when, "insert into .shop_order")
    connections[proxied].ensure_connection()
    with pytest.raises(OperationalError):
        Order.objects.using(proxied).create(number=1)
    assert orders(database) == [1] * (when == "after")


@pytest.mark.only("postgresql", reason="only psycopg prepares statements of its own accord")
def test_a_prepared_statement_is_found_by_its_text(database, proxied, proxy):
    connections[proxied].ensure_connection()
    with connections[proxied].connection.cursor() as cursor:
        trap = proxy.cut("before", "count", nth=3)
        for _ in range(2):
            cursor.execute("SELECT count(*) WHERE 1 = %s", [1], prepare=True)
        with pytest.raises(Exception, match="closed"):
            cursor.execute("SELECT count(*) WHERE 1 = %s", [1], prepare=True)
    assert trap.sprung.is_set()


def test_all_connections_are_cut_at_once(database, proxied, proxy):
    create(proxied, 1)
    assert proxy.cut_all() == 1
    with pytest.raises(Error):
        create(proxied, 2)
    connections[proxied].close()
    create(proxied, 3)
    assert orders(database) == [1, 3]


def test_a_black_hole_keeps_what_it_was_given_until_it_comes_back(database, proxied, proxy):
    connections[proxied].ensure_connection()
    proxy.go_black()
    done = threading.Event()
    connections[proxied].inc_thread_sharing()

    def create_there(connection=connections[proxied]):
        connections[proxied] = connection
        create(proxied, 1)
        done.set()

    thread = threading.Thread(target=create_there)
    thread.start()
    assert not done.wait(0.3)
    assert orders(database) == []
    proxy.come_back()
    thread.join(PATIENCE)
    connections[proxied].dec_thread_sharing()
    assert done.is_set()
    until(lambda: orders(database) == [1])
