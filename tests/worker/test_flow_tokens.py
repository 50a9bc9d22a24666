"""Flows of which some attempts are there already, by their idempotence tokens."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError

from async_attempts import Attempt, call, parallel
from async_attempts.store import store_for
from async_attempts.store.inserting import Inserting
from tests.shop import flows
from tests.worker.helpers.attempts import drain, stored


@pytest.fixture(autouse=True)
def noted():
    flows.noted.clear()
    yield flows.noted
    flows.noted.clear()


@pytest.fixture
def on(database, transactional_db):
    """A call on the database of the test, with a token if it is given one."""

    def on(target, *args, token=None, **options: Any):
        if token is not None:
            options["idempotence_token"] = token
        return call(target, *args).using(database=database, **options)

    return on


def everything_succeeded(database):
    return set(Attempt.objects.using(database).values_list("status", flat=True)) == {"succeeded"}


@pytest.mark.parametrize("is_ended", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
def test_what_follows_one_that_is_there_is_handed_its_result(
    database, on, noted, is_ended, is_async
):
    once = on(flows.fetch, 1, token="once", keep_result=True).enqueue()
    if is_ended:
        drain(database)
    flow = on(flows.fetch, 2, token="once").then(flows.increase)
    last = async_to_sync(flow.aenqueue)() if is_async else flow.enqueue()
    [edge] = last.dependencies.using(database)
    assert edge.prerequisite_id == once.pk
    drain(database)
    assert noted == [("fetch", 1), ("increase", 1)]
    assert everything_succeeded(database)


def test_a_group_has_members_that_are_there_and_new_ones(database, on, noted):
    for number in (0, 2):
        on(flows.fetch, number, token=f"member {number}", keep_result=True).enqueue()
    members = [on(flows.fetch, number, token=f"member {number}") for number in range(4)]
    parallel(*members).then(flows.build).enqueue()
    drain(database)
    assert noted[-1] == ("build", [0, 1, 2, 3])
    assert everything_succeeded(database)


def test_a_flow_that_is_enqueued_twice_is_performed_once(database, on, noted):
    def enqueue():
        last = on(flows.fetch, 1, token="first").then(flows.increase)
        last = last.using(idempotence_token="second").then(flows.fetch)
        return last.using(idempotence_token="third").enqueue()

    assert enqueue().pk == enqueue().pk
    drain(database)
    enqueue()
    drain(database)
    assert noted == [("fetch", 1), ("increase", 1), ("fetch", 2)]
    assert everything_succeeded(database)


def test_what_follows_one_in_the_middle_that_is_there_waits_for_that(database, on, noted):
    def middle():
        return on(flows.fetch, 1).then(flows.increase).using(idempotence_token="middle")

    middle().then(flows.fetch).enqueue()
    middle().then(flows.fetch).enqueue()
    drain(database)
    assert noted.count(("increase", 1)) == 1
    assert noted.count(("fetch", 2)) == 2
    assert everything_succeeded(database)


def test_rows_depend_on_one_that_is_there(database, on, noted):
    once = on(flows.fetch, 1, token="once").enqueue()
    row = on(flows.fetch, 2, token="once").attempt()
    new = on(flows.fetch, 3).attempt()
    dependent = on(flows.look_back, depends_on=[(row, "any"), new]).attempt()
    found = store_for(database).insert_or_get_many([row, new, dependent])
    assert found[0].pk == once.pk
    drain(database)
    (_, endings) = noted[-1]
    assert [ending.attempt_id for ending in endings] == [once.pk, new.pk]
    assert everything_succeeded(database)


def test_what_catches_one_that_is_there_and_failed(database, on, noted):
    on(flows.refuse, token="once").enqueue()
    drain(database)
    on(flows.refuse, token="once").catch(flows.report).enqueue()
    drain(database)
    assert noted[-1][1].message == "the stove is cold"


def test_one_that_is_gone_when_the_transaction_is_done_again(database, on, noted, monkeypatch):
    """Two transactions collide, and the attempt that had the token is deleted meanwhile."""
    once = on(flows.fetch, 1, token="once", keep_result=True).enqueue()
    write = Inserting._write_or_get_many
    tries = []

    def collide(store, many):
        tries.append(many)
        if len(tries) == 2:
            Attempt.objects.using(database).filter(pk=once.pk)._raw_delete(database)
        found = write(store, many)
        if len(tries) == 1:
            raise OperationalError(1213, "deadlock")
        return found

    monkeypatch.setattr(Inserting, "_write_or_get_many", collide)
    last = on(flows.fetch, 2, token="once").then(flows.increase).enqueue()
    assert len(tries) == 2
    drain(database)
    assert noted == [("fetch", 2), ("increase", 2)]
    assert stored(last).status == "succeeded"
