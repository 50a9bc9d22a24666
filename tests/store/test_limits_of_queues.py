"""How many of a queue's attempts run at once, and how often one begins; and who may enqueue."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import transaction

from async_attempts import QueueFull, call, enqueue_many, parallel, pause_queue, resume_queue
from async_attempts.lifecycle import Released, Snoozed, Succeeded
from async_attempts.models import key_of_limit
from async_attempts.store.expressions import seconds_from_now
from tests.shop import clients

from .rows import enqueued, let_lease_run_out, put, registered, row


@pytest.fixture
def limited(settings):
    """Gives the queue `default` these options."""

    def limited(**options):
        queues = {"default": options, "emails": {}}
        settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"QUEUES": queues}

    return limited


def claim(store, worker, limit=10, **options):
    return store.claims.claim(worker.pk, ["default"], limit, **options)


def test_no_more_than_its_concurrency_are_claimed(store, worker, limited):
    limited(concurrency=3)
    enqueued(store, 10)
    other = registered(store)
    first = claim(store, worker, 2)
    second = claim(store, other)
    assert (len(first), len(second)) == (2, 1)
    assert claim(store, worker) == []
    assert second.held_back == {"default": None}
    assert first.held_back == {}


def test_places_are_made_where_the_database_does_not_say_their_ids(
    store, worker, limited, monkeypatch
):
    """As MySQL, which has no RETURNING."""
    features = type(store.database.connection.features)
    monkeypatch.setattr(features, "can_return_rows_from_bulk_insert", False)
    limited(concurrency=2)
    enqueued(store, 3)
    assert len(claim(store, worker)) == 2


def test_what_a_larger_concurrency_let_begin_counts_when_it_is_smaller(store, worker, limited):
    limited(concurrency=4)
    enqueued(store, 10)
    first = claim(store, worker)
    limited(concurrency=2)
    store.outcomes.finish(worker.pk, [(one, Succeeded()) for one in first[:2]])
    assert claim(store, worker) == []
    store.outcomes.finish(worker.pk, [(first[2], Succeeded())])
    assert len(claim(store, worker)) == 1
    assert store.database.slots.count() == 3
    store.outcomes.finish(worker.pk, [(first[3], Succeeded())])
    assert len(claim(store, worker)) == 1
    assert store.database.slots.count() == 2
    limited(concurrency=5)
    assert len(claim(store, worker)) == 3


def test_a_suspect_fits_if_the_limits_of_its_queue_leave_room(store, worker, limited):
    [suspect, other] = [*enqueued(store), *enqueued(store, queue="emails")]
    put(store, suspect, num_crashes=1)
    limited(concurrency=1)
    assert store.queues.any_suspect_fits(["default"])
    enqueued(store)
    [held] = claim(store, worker)
    assert not store.queues.any_suspect_fits(["default", "emails"])
    put(store, other, num_crashes=1)
    assert store.queues.any_suspect_fits(["default", "emails"])
    assert not store.queues.any_suspect_fits(["default"])
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    assert store.queues.any_suspect_fits(["default"])
    limited(rate="1/h")
    assert store.queues.any_suspect_fits(["default"])
    enqueued(store)
    assert len(claim(store, worker)) == 1
    assert not store.queues.any_suspect_fits(["default"])


def test_a_clock_that_went_back_holds_no_queue_up(store, worker, limited):
    limited(rate="50/s", burst=1)
    enqueued(store, 2)
    assert len(claim(store, worker)) == 1
    store.database.queues.filter(pk="default").update(tokens=0.0, tokens_at=seconds_from_now(3600))
    assert claim(store, worker) == []
    time.sleep(0.05)
    assert len(claim(store, worker)) == 1


def test_what_finds_no_place_under_its_key_uses_no_token(store, worker, limited):
    limited(rate="1/h", burst=3)
    enqueued(store, 20, limit_key="k", priority=1)
    [other] = enqueued(store)
    assert other.pk in {one.id for one in claim(store, worker)}
    enqueued(store, 3)
    assert len(claim(store, worker)) == 1


@pytest.mark.parametrize("outcome", [Succeeded(), Succeeded(b"r"), Snoozed(60), Released()])
def test_whatever_ends_a_claim_frees_its_place(store, worker, limited, outcome):
    limited(concurrency=1)
    enqueued(store, 2)
    [held] = claim(store, worker)
    store.outcomes.finish(worker.pk, [(held, outcome)])
    assert len(claim(store, worker)) == 1
    assert claim(store, worker) == []


def test_a_new_claim_of_the_same_attempt_has_a_place_of_its_own(store, worker, limited):
    limited(concurrency=1)
    enqueued(store)
    [held] = claim(store, worker)
    store.outcomes.finish(worker.pk, [(held, Released())])
    [again] = claim(store, worker)
    assert (again.id, again.claim_seq) == (held.id, 2)
    enqueued(store)
    assert claim(store, worker) == []


def test_a_dead_workers_places_are_free_when_it_is_rescued(store, worker, limited):
    limited(concurrency=2)
    attempts = enqueued(store, 4)
    dead = registered(store)
    assert len(claim(store, dead)) == 2
    let_lease_run_out(store, dead)
    assert claim(store, worker) == []
    store.workers.rescue()
    assert {one.id for one in claim(store, worker)} == {one.pk for one in attempts[2:]}


def test_a_persons_verb_frees_a_place(store, worker, limited):
    limited(concurrency=1)
    first, second = enqueued(store, 2)
    claim(store, worker)
    store.database.attempts.filter(pk=first.pk).expire()
    assert [one.id for one in claim(store, worker)] == [second.pk]


def test_fewer_places_than_before(store, worker, limited):
    limited(concurrency=3)
    enqueued(store, 6)
    held = claim(store, worker)
    limited(concurrency=1)
    assert claim(store, worker) == []
    store.outcomes.finish(worker.pk, [(one, Succeeded()) for one in held])
    assert len(claim(store, worker)) == 1
    limited(concurrency=4)
    assert len(claim(store, worker)) == 2, "one runs, three had begun"


def test_no_more_are_taken_than_can_begin_at_once(store, worker, limited):
    limited(concurrency=5)
    enqueued(store, 5)
    claims = claim(store, worker, at_once=2)
    assert len(claims) == 2
    assert claim(store, worker, at_once=0).held_back == {"default": None}


def test_other_queues_are_claimed_of_all_the_same(store, worker, limited):
    limited(concurrency=1)
    enqueued(store, 3)
    enqueued(store, 3, queue="emails")
    claims = store.claims.claim(worker.pk, ["default", "emails"], 10, at_once=4)
    assert [one.queue for one in claims] == ["default"] + ["emails"] * 3


def test_what_came_too_late_takes_no_place(store, worker, limited):
    limited(concurrency=1)
    late, in_time = enqueued(store, 2)
    put(store, late, expires_at=seconds_from_now(-1))
    assert [one.id for one in claim(store, worker)] == [in_time.pk]
    assert row(store, late).status == "expired"


def test_an_empty_queue_is_not_held_back(store, worker, limited):
    limited(rate="1/d")
    enqueued(store)
    assert len(claim(store, worker)) == 1
    assert claim(store, worker).held_back == {}


def test_its_rate_lets_a_burst_begin_and_then_one_after_the_other(store, worker, limited):
    limited(rate="60/m", burst=3)
    enqueued(store, 10)
    claims = claim(store, worker)
    assert len(claims) == 3
    assert 0 < claims.held_back["default"] <= 1
    assert claim(store, worker) == []
    store.database.queues.update(tokens_at=seconds_from_now(-2.5))
    assert len(claim(store, worker)) == 2
    store.database.queues.update(tokens_at=seconds_from_now(-3600))
    assert len(claim(store, worker)) == 3, "it never fills beyond its burst"


def test_a_rate_counts_each_execution(store, worker, limited):
    limited(rate="1/h", burst=2)
    enqueued(store)
    for _ in range(2):
        [held] = claim(store, worker)
        store.outcomes.finish(worker.pk, [(held, Released())])
    assert claim(store, worker) == []


def test_all_workers_share_the_tokens(store, worker, limited):
    limited(rate="1/h", burst=3)
    enqueued(store, 10)
    assert [len(claim(store, one, 2)) for one in (worker, registered(store))] == [2, 1]


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")
def test_a_worker_does_not_wait_for_another_that_claims_of_the_queue(
    store, worker, limited, sessions
):
    limited(rate="1/h", burst=3)
    store.queues.declare(["default"])
    enqueued(store, 10)
    other, claimer = sessions(), sessions()
    theirs = other.start_and_stop_after(
        ("SKIP LOCKED",), store.claims.claim, worker.pk, ["default"], 2
    )
    claimer.be_impatient()
    heir = registered(store)
    held_back = claimer.do(store.claims.claim, heir.pk, ["default"], 10)
    assert held_back == []
    assert 0 < held_back.held_back["default"] < 1
    other.go_on()
    assert len(theirs.result()) == 2
    assert len(claimer.do(store.claims.claim, heir.pk, ["default"], 10)) == 1


def test_of_a_paused_queue_nothing_is_claimed(store, worker, limited):
    limited()
    enqueued(store)
    enqueued(store, queue="emails")
    pause_queue("default", database=store.database.alias)
    assert store.claims.look(["default"]).paused == {"default"}
    claims = store.claims.claim(worker.pk, ["default", "emails"], 10)
    assert [one.queue for one in claims] == ["emails"]
    resume_queue("default", database=store.database.alias)
    assert store.claims.look(["default"]).paused == frozenset()
    assert len(claim(store, worker)) == 1


def test_a_queue_may_begin_paused(store, worker, limited):
    limited(paused=True)
    enqueued(store)
    assert store.claims.look(["default"]).paused == {"default"}
    assert claim(store, worker) == []
    resume_queue("default", database=store.database.alias)
    assert store.claims.look(["default"]).paused == frozenset()
    assert len(claim(store, worker)) == 1


def test_a_pause_is_part_of_its_transaction(store, worker, limited):
    limited()
    with transaction.atomic(store.database.alias):
        pause_queue("default", database=store.database.alias)
        transaction.set_rollback(True, store.database.alias)
    enqueued(store)
    assert len(claim(store, worker)) == 1


def test_a_full_queue_refuses_and_nothing_is_written(store, limited):
    limited(max_pending=3)
    with transaction.atomic(store.database.alias):
        enqueued(store, 2)
        with pytest.raises(QueueFull, match="'default' has no room for 2 more: at most 3") as full:
            enqueued(store, 2)
        enqueued(store, 1)
    assert (full.value.queue, full.value.max_pending) == ("default", 3)
    assert store.database.attempts.count() == 3
    enqueued(store, 5, queue="emails")


def test_only_what_can_begin_at_once_counts_of_a_flow(store, limited):
    limited(max_pending=2)
    calls = [call(clients.greet, n).using(database=store.database.alias) for n in range(3)]
    calls[0].then(clients.greet).then(clients.greet).enqueue()
    with pytest.raises(QueueFull):
        parallel(*calls).enqueue()
    assert store.database.attempts.count() == 3


def test_a_full_queue_has_room_again(store, worker, limited):
    limited(max_pending=2)
    enqueued(store, 2)
    with pytest.raises(QueueFull):
        enqueued(store)
    [one, _] = claim(store, worker)
    with pytest.raises(QueueFull):
        enqueued(store)
    store.outcomes.finish(worker.pk, [(one, Succeeded())])
    enqueued(store)


def test_a_full_queue_refuses_nobody_whose_attempt_is_there(store, limited):
    limited(max_pending=1)
    one = call(clients.greet, 1).using(database=store.database.alias, idempotence_token="one")
    first = one.enqueue()
    other = call(clients.greet, 2).using(database=store.database.alias, idempotence_token="two")
    again = one.enqueue()
    assert (again.pk, again.created) == (first.pk, False)
    assert [row.pk for row in enqueue_many([one])] == [first.pk]
    for refused in [other], [one, other]:
        with pytest.raises(QueueFull):
            enqueue_many(refused)
    assert store.database.attempts.count() == 1


def test_what_is_due_later_does_not_fill_a_queue(store, limited):
    limited(max_pending=1)
    enqueued(store, scheduled_at=timedelta(hours=1))
    enqueued(store)
    with pytest.raises(QueueFull):
        enqueued(store)


def test_a_generators_calls_stop_at_the_limit_and_none_is_written(store, limited):
    limited(max_pending=700)
    calls = (call(clients.greet, n).using(database=store.database.alias) for n in range(1200))
    with pytest.raises(QueueFull):
        enqueue_many(calls, returning=False)
    assert not store.database.attempts.exists()


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")
def test_tokens_of_a_queue_that_somebody_locks_are_not_given_back(store, worker, limited, sessions):
    """As a worker that is frozen in its claim does, or who pauses the queue in a transaction."""
    limited(rate="10/h")
    enqueued(store)
    assert len(claim(store, worker)) == 1
    somebody = sessions()
    somebody.begin()
    somebody.do(lambda: store.database.queues.select_for_update().get(pk="default"))
    left = store.database.queues.get(pk="default").tokens
    store.queues.give_tokens_back("default", 1)
    assert store.database.queues.get(pk="default").tokens == left
    somebody.rollback()
    store.queues.give_tokens_back("default", 1)
    assert store.database.queues.get(pk="default").tokens == left + 1


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")
def test_places_that_a_queue_has_no_more_go_while_somebody_locks_others(
    store, worker, limited, sessions
):
    limited(concurrency=30)
    enqueued(store, 2)
    [first] = claim(store, worker, 1)
    store.outcomes.finish(worker.pk, [(first, Succeeded())])
    store.database.slots.create(key=key_of_limit("k"), number=0)
    somebody = sessions()
    somebody.begin()
    somebody.do(lambda: list(store.database.slots.select_for_update().filter(queue="")))
    limited(concurrency=1)
    assert len(claim(store, worker)) == 1
    assert store.database.slots.filter(queue="default").count() == 1
