"""Claims and looks pass over the headers of keys that a process lacks, and nothing else."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from async_attempts.encryption import HEADER_BYTES
from async_attempts.store import store_for
from tests.shop import effects
from tests.store.rows import registered
from tests.worker.helpers.attempts import enqueued, put, stored

FORGED = b"\x01'%\\\x00"


def forge(attempt, header=FORGED, **columns):
    put(attempt, args=header + stored(attempt).args[HEADER_BYTES:], **columns)


def claimed(store, **options):
    return [
        claim.id for claim in store.claims.claim(registered(store).pk, ["default"], 10, **options)
    ]


@pytest.mark.parametrize("suspects", [False, True])
def test_a_claim_takes_what_is_behind_them(database, suspects):
    crashes = int(suspects)
    for _ in range(3):
        forge(enqueued(database, effects.record), num_crashes=crashes, priority=1)
    healthy = enqueued(database, effects.record)
    put(healthy, num_crashes=crashes)
    store = store_for(database)
    others = [bytes([1, 0, 0, 0, number]) for number in range(99)]
    assert claimed(store, suspects=suspects, passed_over=[FORGED, *others]) == [healthy.pk]
    assert len(claimed(store, suspects=suspects)) == 3


@pytest.mark.parametrize("of_queue", [{"concurrency": 2}, {"rate": "100/s"}])
def test_so_does_a_claim_of_a_queue_with_limits(database, settings, of_queue):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": {"default": of_queue}}
    for _ in range(3):
        forge(enqueued(database, effects.record), priority=1)
    store = store_for(database)
    assert (
        store.claims.claim(registered(store).pk, ["default"], 10, passed_over=[FORGED]).held_back
        == {}
    )
    healthy = enqueued(database, effects.record)
    assert claimed(store, passed_over=[FORGED]) == [healthy.pk]


@pytest.mark.parametrize("crashes", [0, 1])
def test_a_look_finds_nothing_due_that_a_claim_would_pass_over(database, crashes):
    forge(enqueued(database, effects.record), num_crashes=crashes)
    store = store_for(database)
    queue_state = store.claims.look(["default"], [FORGED])
    assert (queue_state.has_due, queue_state.has_suspects) == (False, False)
    queue_state = store.claims.look(["default"])
    assert (queue_state.has_due, queue_state.has_suspects) == (not crashes, bool(crashes))


@pytest.mark.parametrize("of_queue", [{}, {"concurrency": 2}])
def test_no_suspect_fits_that_a_claim_would_pass_over(database, settings, of_queue):
    queues = {"default": of_queue, "emails": {"concurrency": 1}}
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}
    forge(enqueued(database, effects.record), num_crashes=1)
    store = store_for(database)
    assert store.queues.any_suspect_fits(["default", "emails"])
    assert not store.queues.any_suspect_fits(["default", "emails"], [FORGED])


def test_whoever_passes_over_nothing_sends_the_statements_of_always(database):
    store = store_for(database)
    worker = registered(store).pk
    with CaptureQueriesContext(connections[database]) as plain:
        store.claims.look(["default"])
        store.claims.claim(worker, ["default"], 10)
        store.claims.claim(worker, ["default"], 10, suspects=True)
    assert len(plain) >= 3
    assert not [query for query in plain if "substr" in query["sql"].lower()]
    with CaptureQueriesContext(connections[database]) as passing:
        store.claims.look(["default"], [FORGED])
    assert "substr" in passing[0]["sql"].lower()
