"""Guarantee 1: an attempt exists exactly when its creator's transaction committed, and is never
lost.
"""

from __future__ import annotations

import random
from functools import partial
from itertools import count

import pytest
from django.db import Error, connections, transaction

from async_attempts import call
from tests.faults.conftest import has_connections
from tests.faults.fleet import drained, rows
from tests.shop import hazards
from tests.shop.models import Order
from tests.worker.helpers.processes import PATIENCE, until

LIVES = 5


def place_order(database, path, number):
    """An order and the attempt for it, in one transaction; each third is undone."""
    with transaction.atomic(database):
        Order.objects.using(database).create(number=number)
        promise = call(hazards.leave_traces, path)
        promise.using(database=database, idempotence_token=str(number)).enqueue()
        if number % 3 == 2:
            transaction.set_rollback(True, database)


def place_orders(database, path, first):
    for number in count(first):
        place_order(database, path, number)


def orders(database):
    return Order.objects.using(database)


def attempted(database):
    """The numbers of the orders that attempts were made for."""
    tokens = rows(database).values_list("idempotence_token", flat=True)
    return sorted(map(int, tokens))


def test_it_exists_when_the_order_does_however_the_caller_dies(database, workers, book):
    for life in range(LIVES):
        first = life * 1_000_000
        caller = workers.run(partial(place_orders, database, book.path, first))
        enough = first + random.randrange(20)
        until(orders(database).filter(number__gte=enough).exists, caller)
        caller.kill()
    placed = sorted(orders(database).values_list("number", flat=True))
    assert attempted(database) == placed
    book.promise(rows(database))
    drained(workers, database)
    book.balance()
    assert len(book.traces("ended")) == len(placed)


@has_connections
@pytest.mark.parametrize("when", ["before", "after"])
def test_it_exists_when_the_order_does_wherever_the_commit_is_cut(
    database, proxied, proxy, book, when
):
    cuts, broken = [3, 7, 10], []
    for number in range(12):
        if number in cuts:
            trap = proxy.cut(when, "^commit", following="insert into .async_attempts_attempt")
        try:
            place_order(proxied, book.path, number)
        except Error:
            broken.append(number)
            assert trap.sprung.wait(PATIENCE)
            connections[proxied].close()
    assert broken == cuts
    placed = [
        number
        for number in range(12)
        if number % 3 != 2 and (number not in cuts or when == "after")
    ]
    assert sorted(orders(database).values_list("number", flat=True)) == placed
    assert attempted(database) == placed
