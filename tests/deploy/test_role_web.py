"""The rights of a web process suffice to enqueue in all ways, and for little else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from async_attempts import (
    Attempt,
    AttemptFailed,
    call,
    enqueue_many,
    enqueue_stream,
    event,
    gather,
    parallel,
)
from tests.deploy.roles import Roles, roles
from tests.shop import clients, effects, flows, limited, paced
from tests.worker.helpers.attempts import drain, performed, stored

__all__ = ["roles"]

pytestmark = pytest.mark.only("postgresql", reason="the page's SQL is PostgreSQL's")


def one(database: str) -> Any:
    return call(effects.act).using(database=database).enqueue()


def one_in_a_block(database: str) -> Any:
    with transaction.atomic(database):
        return one(database)


def one_that_is_async(database: str) -> Any:
    return async_to_sync(call(effects.act).using(database=database).aenqueue)()


def created(database: str) -> Any:
    return Attempt.objects.using(database).create(target=effects.act)


def created_in_bulk(database: str) -> Any:
    rows = [call(effects.act).attempt() for _ in range(20)]
    return Attempt.objects.using(database).bulk_create(rows)


def several(database: str) -> Any:
    return enqueue_many(call(effects.act).using(database=database) for _ in range(20))


def many_by_copy(database: str) -> Any:
    with transaction.atomic(database):
        return enqueue_many(call(clients.greet, n).using(database=database) for n in range(450))


def scheduled(database: str) -> Any:
    later = timedelta(days=1)
    return call(effects.act).using(database=database, scheduled_at=later).enqueue()


def by_token(database: str) -> Any:
    with_token = call(effects.act).using(database=database, idempotence_token="one")
    first = with_token.enqueue()
    again = with_token.enqueue()
    assert (again.pk, again.created) == (first.pk, False)
    return again


def several_by_token(database: str) -> Any:
    calls = [
        call(effects.act).using(database=database, idempotence_token=str(n % 10)) for n in range(20)
    ]
    rows = enqueue_many(calls)
    assert len({row.pk for row in rows}) == 10
    return rows


def debounced(database: str) -> Any:
    first = call(paced.reindex, 1).using(database=database).enqueue()
    second = call(paced.reindex, 1).using(database=database).enqueue()
    assert (second.pk, second.created) == (first.pk, False)
    return second


def throttled(database: str) -> Any:
    return [call(paced.recount_stock, 1).using(database=database).enqueue() for _ in range(3)]


def several_debounced(database: str) -> Any:
    return enqueue_many(call(paced.reindex, n % 3).using(database=database) for n in range(9))


def one_of_a_key(database: str) -> Any:
    rows = [
        call(clients.greet, 1).using(database=database, one_of="k", when_taken=way).enqueue()
        for way in ("keep", "keep", "skip", "replace", "again")
    ]
    assert [row.created for row in rows] == [True, False, False, False, False]
    return rows


def limited_by_a_key(database: str) -> Any:
    return call(limited.one_of_two, "nowhere").using(database=database).enqueue()


def flow(database: str) -> Any:
    both = parallel(call(flows.fetch, 1), call(flows.fetch, 2)).then(flows.build)
    return both.catch(flows.report).using(database=database).enqueue()


def chain(database: str) -> Any:
    return call(flows.fetch, 1).then(flows.increase).using(database=database).enqueue()


def emitted(database: str) -> Any:
    payload = {"order_id": 1, "amount": 2000}
    return event("shop.order.completed", **payload).using(database=database).emit()


def streamed(database: str) -> Any:
    return enqueue_stream(
        lambda n: call(clients.greet, n), range(9), token="all", database=database
    )


WAYS = (
    one,
    one_in_a_block,
    one_that_is_async,
    created,
    created_in_bulk,
    several,
    many_by_copy,
    scheduled,
    by_token,
    several_by_token,
    debounced,
    throttled,
    several_debounced,
    one_of_a_key,
    limited_by_a_key,
    flow,
    chain,
    emitted,
    streamed,
)


@pytest.fixture(autouse=True)
def _nothing_is_told(caplog: pytest.LogCaptureFixture):
    """What runs after a commit may fail without an exception."""
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.exc_info] == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_it_enqueues(database: str, roles: Roles, way: Callable[[str], Any]):
    with roles.acting_as("web"):
        assert way(database)
    assert Attempt.objects.using(database).exists()


@pytest.mark.parametrize("target", [flows.fetch, flows.refuse], ids=["succeeded", "failed"])
@pytest.mark.parametrize("ends", ["before", "after"])
def test_it_enqueues_what_follows_an_older_attempt(database, roles, target, ends):
    older = call(target, 1).using(database=database, keep_result=True).enqueue()
    if ends == "before":
        drain(database)
    following = call(flows.clear_up).using(database=database, depends_on=[older])
    with roles.acting_as("web"):
        new = following.enqueue()
    drain(database)
    assert stored(new).status == ("succeeded" if target is flows.fetch else "expired")


def test_it_counts_what_is_pending(database, roles, settings):
    queues = {"default": {"max_pending": 5}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}
    with roles.acting_as("web"):
        assert one(database)


def test_it_waits_for_results(database, roles):
    kept = performed(database, flows.fetch, 7, options={"keep_result": True})
    failed = performed(database, flows.refuse)
    with roles.acting_as("web"):
        assert Attempt.objects.using(database).get(pk=kept.pk).result(timeout=5) == 7
        assert gather(kept, timeout=5) == [7]
        with pytest.raises(AttemptFailed, match="ValueError"):
            Attempt.objects.using(database).get(pk=failed.pk).result(timeout=5)
