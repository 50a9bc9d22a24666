"""Limit keys: of one key only so many run at once; the others wait for a place."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from types import SimpleNamespace

import pytest

from async_attempts.lifecycle import Failed, Released, Snoozed, Succeeded
from async_attempts.models import Slot, key_of_limit
from async_attempts.store import limits
from async_attempts.store.expressions import seconds_from_now

from .rows import ERROR, enqueued, finish_all, let_lease_run_out, put, registered, row
from .test_progress import lock_row

row_locks = pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer")


def claim(store, worker, limit=10):
    return store.claims.claim(worker.pk, ["default"], limit)


def statuses(store, attempts):
    return [row(store, attempt).state for attempt in attempts]


def test_one_of_a_key_runs_and_the_others_wait(store, worker):
    attempts = enqueued(store, 3, limit_key="customer-1")
    [other] = enqueued(store, limit_key="customer-2")
    [free] = enqueued(store)
    assert {c.id for c in claim(store, worker)} == {attempts[0].pk, other.pk, free.pk}
    assert statuses(store, attempts) == ["running", "waiting", "waiting"]
    parked = row(store, attempts[1])
    assert (parked.num_attempts, parked.claimed_by, parked.started_at) == (0, None, None)
    assert (parked.limit_key, parked.concurrency, parked.claim_seq) == ("customer-1", 1, 1)


def test_as_many_as_its_concurrency(store, worker):
    attempts = enqueued(store, 5, limit_key=7, concurrency=2)
    assert [c.id for c in claim(store, worker)] == [one.pk for one in attempts[:2]]
    assert row(store, attempts[0]).limit_key == "7"


def test_a_smaller_concurrency_of_the_same_key_counts_the_others_too(store, worker):
    enqueued(store, 2, limit_key="k", concurrency=3)
    [alone] = enqueued(store, limit_key="k", concurrency=2)
    assert len(claim(store, worker)) == 2
    assert row(store, alone).status == "waiting"


def test_whichever_places_the_others_of_the_key_hold(store, worker):
    enqueued(store, 3, limit_key="k", concurrency=3)
    first, *_ = claim(store, worker)
    store.outcomes.finish(worker.pk, [(first, Succeeded())])
    [alone] = enqueued(store, limit_key="k", concurrency=2)
    assert claim(store, worker) == []
    assert (row(store, alone).status, store.limits.unpark(["k"])) == ("waiting", 0)


def test_keys_that_differ_in_case_are_two(store, worker):
    enqueued(store, 1, limit_key="a")
    enqueued(store, 1, limit_key="A")
    assert len(claim(store, worker)) == 2


@pytest.mark.parametrize("keys", [("a", "A"), ("a", "a "), ("e", "é")])
def test_keys_that_a_collation_takes_for_one_are_woken_apart(store, worker, keys):
    attempts = [enqueued(store, 2, limit_key=key)[1] for key in keys]
    held = claim(store, worker)
    store.outcomes.finish(worker.pk, [(one, Succeeded()) for one in held])
    assert store.limits.unpark([keys[1]]) == 1
    assert statuses(store, attempts) == ["waiting", "pending"]
    put(store, attempts[1], status="waiting")
    assert store.limits.unpark_all() == 2


@pytest.mark.parametrize(
    "outcome", [Succeeded(), Succeeded(b"r"), Failed("no", ERROR), Snoozed(60), Released()]
)
def test_whatever_ends_a_claim_frees_its_place(store, worker, outcome):
    attempts = enqueued(store, 3, limit_key="k")
    [held] = claim(store, worker)
    assert store.limits.unpark(["k"]) == 0
    store.outcomes.finish(worker.pk, [(held, outcome)])
    assert store.limits.unpark(["k", "nobody's"]) == 1
    if isinstance(outcome, Released):
        put(store, attempts[0], scheduled_at=seconds_from_now(60))
    assert statuses(store, attempts[1:]) == ["pending", "waiting"]
    assert [c.id for c in claim(store, worker)] == [attempts[1].pk]


def test_the_best_of_those_that_wait_is_next(store, worker):
    enqueued(store, 1, limit_key="k", priority=10)
    low, high = (
        enqueued(store, 1, limit_key="k")[0],
        enqueued(store, 1, limit_key="k", priority=5)[0],
    )
    [held] = claim(store, worker)
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    store.limits.unpark(["k"])
    assert statuses(store, [low, high]) == ["waiting", "pending"]


def test_what_waits_for_others_is_not_woken(store, worker):
    [held, blocked] = enqueued(store, 2, limit_key="k")
    put(store, blocked, status="waiting", blockers=1)
    assert store.limits.unpark_all() == 0
    [claimed] = claim(store, worker)
    store.outcomes.finish(worker.pk, [(claimed, Succeeded())])
    assert (held.pk, store.limits.unpark(["k"])) == (claimed.id, 0)


def test_a_sweep_wakes_what_nobody_woke(store, worker):
    attempts = [*enqueued(store, 2, limit_key="k"), *enqueued(store, 2, limit_key="l")]
    held = claim(store, worker)
    store.outcomes.finish(worker.pk, [(one, Succeeded()) for one in held])
    assert store.claims.look(["default"]).has_waiting
    assert store.limits.unpark_all() == 2
    assert statuses(store, attempts) == ["succeeded", "pending", "succeeded", "pending"]
    claim(store, worker)
    assert not store.claims.look(["default"]).has_waiting


def test_what_comes_too_late_for_its_place_leaves_it_to_the_next(store, worker):
    held, late, next_one = enqueued(store, 3, limit_key="k")
    claimed = claim(store, worker)
    put(store, late, expires_at=seconds_from_now(-1))
    store.outcomes.finish(worker.pk, [(one, Succeeded()) for one in claimed])
    store.limits.unpark(["k"])
    assert [one.id for one in claim(store, worker)] == [next_one.pk]
    assert statuses(store, [held, late]) == ["succeeded", "expired"]


def test_of_some_queues_only_what_waits_there_is_woken(store, worker):
    attempts = enqueued(store, 2, limit_key="k", priority=5)
    mails = enqueued(store, 2, limit_key="k", queue="emails")
    claimed = store.claims.claim(worker.pk, ["default", "emails"], 10)
    store.outcomes.finish(worker.pk, [(one, Succeeded()) for one in claimed])
    assert store.limits.unpark_all(["emails"]) == 1
    assert statuses(store, [attempts[1], *mails]) == ["waiting", "pending", "waiting"]
    assert store.limits.unpark_all([]) == 0


def test_a_dead_workers_place_is_free_when_it_is_rescued(store, worker):
    attempts = enqueued(store, 3, limit_key="k")
    dead = registered(store)
    assert len(claim(store, dead)) == 1
    let_lease_run_out(store, dead)
    assert claim(store, worker) == []
    store.workers.rescue()
    assert statuses(store, attempts) == ["pending", "pending", "waiting"]
    assert [c.id for c in claim(store, worker)] == [attempts[1].pk]
    assert [c.id for c in store.claims.claim(worker.pk, ["default"], 1, suspects=True)] == []
    assert statuses(store, attempts) == ["waiting", "running", "waiting"]


def test_what_waits_can_be_expired_failed_and_retried(store, worker):
    _, second, third = enqueued(store, 3, limit_key="k")
    claim(store, worker)
    second.refresh_from_db()
    second.expire()
    third.refresh_from_db()
    third.fail()
    assert statuses(store, [second, third]) == ["expired", "failed"]
    store.database.attempts.filter(pk__in=[second.pk, third.pk]).retry()
    assert claim(store, worker) == []
    assert statuses(store, [second, third]) == ["waiting", "waiting"]


def test_many_of_one_key_are_parked_in_one_claim(store, worker):
    attempts = enqueued(store, 50, limit_key="k")
    [free] = enqueued(store)
    assert {c.id for c in claim(store, worker, 5)} == {attempts[0].pk, free.pk}
    assert statuses(store, attempts[1:]) == ["waiting"] * 49


def test_a_thousand_of_one_key_are_soon_out_of_the_others_way(store, worker):
    enqueued(store, 1000, limit_key="k")
    assert len(claim(store, worker, 1)) == 1
    others = [*enqueued(store, 2), *enqueued(store, 2, limit_key="l")]
    claimed = [one.id for _ in range(4) for one in claim(store, worker, 1)]
    assert claimed == [one.pk for one in others[:3]]
    # What was claimed beyond the one that was wanted is as it was.
    assert statuses(store, others) == ["running", "running", "running", "waiting"]
    assert row(store, others[1]).num_attempts == 1


def test_a_claim_that_parks_again_and_again_says_that_there_may_be_more(store, worker):
    enqueued(store, 3000, limit_key="k")
    assert len(claim(store, worker, 1)) == 1
    claims = claim(store, worker, 1)
    assert (list(claims), claims.may_have_more) == ([], True)


def test_places_that_nobody_holds_are_forgotten(store, worker):
    enqueued(store, 1, limit_key="k", concurrency=2)
    enqueued(store, 1, limit_key="l")
    [one, _] = claim(store, worker)
    store.outcomes.finish(worker.pk, [(one, Succeeded())])
    assert store.limits.forget_slots() is None
    held = list(Slot.objects.using(store.database.alias).values_list("attempt_id", flat=True))
    assert len(held) == 1
    enqueued(store, 1, limit_key="k", concurrency=2)
    assert len(claim(store, worker)) == 1


def test_places_are_forgotten_a_few_at_a_time(store, worker):
    claims = [claim(store, worker)[0] for n in range(5) if enqueued(store, 1, limit_key=f"k{n}")]
    store.outcomes.finish(worker.pk, [(one, Succeeded()) for one in claims[1:]])
    after = store.limits.forget_slots(limit=2)
    assert store.database.slots.count() == 4
    after = store.limits.forget_slots(after, limit=2)
    assert store.database.slots.count() == 2
    assert store.limits.forget_slots(after, limit=2) is None
    assert store.database.slots.get().attempt_id == claims[0].id


def test_perform_takes_a_place_too(store, worker):
    first, second = enqueued(store, 2, limit_key="k")
    assert store.claims.claim_one(worker.pk, first.pk)
    assert store.claims.claim_one(worker.pk, second.pk) is None
    assert statuses(store, [second]) == ["waiting"]


@pytest.fixture
def loop(store):
    """This thread is a worker's loop."""
    store.database.revisits.begin()
    yield
    store.database.revisits.end()


def revisit(store):
    """Come back, once it is time, to what was passed over."""
    assert store.database.revisits
    time.sleep(store.database.revisits.seconds or 0.0)
    return store.revisit()


@row_locks
def test_who_parks_while_the_place_becomes_free_is_woken(store, worker, sessions, loop):
    """The one who parks has judged the place to be held; the finish is faster than its commit."""
    first, second = enqueued(store, 2, limit_key="k")
    held = store.claims.claim_one(worker.pk, first.pk)
    parking = sessions()
    heir = registered(store)
    # By the update that parks it: the place was judged to be held.
    parks = f"SET {store.database.quoted('status')} = "
    parked = parking.start_and_stop_after((parks,), store.claims.claim_one, heir.pk, second.pk)
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    # The store's own connection waits for no lock for more than a second.
    assert store.limits.unpark(["k"]) == 0
    parking.go_on()
    assert parked.result() is None
    assert revisit(store) == 1
    assert statuses(store, [second]) == ["pending"]


def hold_places(session, store):
    """Lock all of them, as a worker does that is frozen while it looks for one."""
    session.begin()
    slots = store.database.slots.order_by("pk").select_for_update()
    assert session.do(lambda: list(slots.values_list("pk")))


@row_locks
def test_a_key_whose_places_are_locked_holds_up_nobody(store, worker, sessions, loop):
    first, *others = enqueued(store, 3, limit_key="k")
    held = store.claims.claim_one(worker.pk, first.pk)
    [free] = enqueued(store)
    frozen = sessions()
    hold_places(frozen, store)
    assert [one.id for one in claim(store, worker)] == [free.pk]
    assert statuses(store, others) == ["waiting", "waiting"]
    assert {row(store, one).num_attempts for one in others} == {0}
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    assert (store.limits.unpark(["k"]), revisit(store)) == (0, 0)
    frozen.commit()
    assert revisit(store) == 1
    assert [one.id for one in claim(store, worker)] == [others[0].pk]
    assert not store.database.revisits


@row_locks
def test_other_keys_do_not_wait_for_one_whose_places_are_locked(store, worker, sessions):
    """Small tables are read as a whole, if the database is asked for several rows of them."""
    [first] = enqueued(store, limit_key="k")
    assert store.claims.claim_one(worker.pk, first.pk)
    frozen = sessions()
    hold_places(frozen, store)
    for number in range(4):
        enqueued(store, limit_key=f"of {number}", concurrency=2)
    held = claim(store, worker)
    assert len(held) == 4
    store.outcomes.finish(worker.pk, [(one, Succeeded()) for one in held])
    store.limits.unpark({one.limit_key for one in held})
    assert store.database.slots.count() == 1


@row_locks
def test_what_is_parked_without_the_locks_is_not_forgotten(store, worker, sessions, loop):
    """Its place was free all the time: only a wake can find that out."""
    first, second = enqueued(store, 2, limit_key="k")
    held = store.claims.claim_one(worker.pk, first.pk)
    frozen = sessions()
    hold_places(frozen, store)
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    assert store.claims.claim_one(worker.pk, second.pk) is None
    assert statuses(store, [second]) == ["waiting"]
    frozen.rollback()
    assert revisit(store) == 1
    assert statuses(store, [second]) == ["pending"]


@row_locks
def test_a_claim_tries_again_while_others_look_for_a_place(store, worker, sessions, monkeypatch):
    first, second = enqueued(store, 2, limit_key="k")
    held = store.claims.claim_one(worker.pk, first.pk)
    other = sessions()
    hold_places(other, store)
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    monkeypatch.setattr(limits, "time", SimpleNamespace(sleep=lambda _: other.commit()))
    claimed = store.claims.claim_one(worker.pk, second.pk)
    assert claimed.id == second.pk


@row_locks
def test_a_key_that_stays_locked_is_not_tried_again_by_each_claim(
    store, worker, sessions, loop, monkeypatch
):
    first, *others = enqueued(store, 3, limit_key="k")
    assert store.claims.claim_one(worker.pk, first.pk)
    frozen = sessions()
    hold_places(frozen, store)
    pauses: list[float] = []
    monkeypatch.setattr(limits, "time", SimpleNamespace(sleep=pauses.append))
    assert store.claims.claim_one(worker.pk, others[0].pk) is None
    assert len(pauses) == len(limits.PAUSES)
    assert store.claims.claim_one(worker.pk, others[1].pk) is None
    assert len(pauses) == len(limits.PAUSES)


def test_the_last_attempt_of_a_key_leaves_no_place_behind(store, worker):
    enqueued(store, 1, limit_key="k", concurrency=3)
    enqueued(store, 1, limit_key="l")
    held = claim(store, worker)
    assert store.database.slots.count() == 4
    store.outcomes.finish(worker.pk, [(held[0], Succeeded())])
    store.limits.unpark(["k"])
    assert [slot.attempt_id for slot in store.database.slots.all()] == [held[1].id]


def test_no_place_of_a_key_goes_while_one_is_held(store, worker):
    attempts = enqueued(store, 2, limit_key="k", concurrency=2)
    held = claim(store, worker)
    store.outcomes.finish(worker.pk, [(held[0], Succeeded())])
    assert (store.limits.unpark(["k"]), store.database.slots.count()) == (0, 2)
    attempts += enqueued(store, 2, limit_key="k", concurrency=2)
    assert len(claim(store, worker)) == 1
    assert sorted(statuses(store, attempts)) == ["running", "running", "succeeded", "waiting"]


@row_locks
def test_a_place_that_is_taken_while_it_is_to_be_forgotten_stays(store, worker, sessions):
    first, second = enqueued(store, 2, limit_key="k")
    held = store.claims.claim_one(worker.pk, first.pk)
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    forgetting = sessions()
    # It has seen that nobody holds the place.
    seen = ("SELECT", store.database.model._meta.db_table)
    forgotten = forgetting.start_and_stop_after(seen, store.limits.forget_slots)
    again = store.claims.claim_one(worker.pk, second.pk)
    forgetting.go_on()
    assert forgotten.result() is None
    assert [slot.attempt_id for slot in store.database.slots.all()] == [again.id]


def test_a_place_that_somebody_is_to_take_stays(store, worker):
    enqueued(store, 2, limit_key="k")
    [held] = claim(store, worker)
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    assert (store.limits.unpark(["k"]), store.database.slots.count()) == (1, 1)


@row_locks
def test_a_place_that_is_deleted_just_now_is_made_again(store, worker, sessions, monkeypatch):
    first, second = enqueued(store, 2, limit_key="k")
    held = store.claims.claim_one(worker.pk, first.pk)
    store.outcomes.finish(worker.pk, [(held, Succeeded())])
    put(store, second, status="scheduled")
    deleting = sessions()
    deletes = ("DELETE", Slot._meta.db_table)
    woken = deleting.start_and_stop_after(deletes, store.limits.unpark, ["k"])
    put(store, second, status="pending")

    def pause(_):
        deleting.go_on()
        assert woken.result() == 0

    monkeypatch.setattr(limits, "time", SimpleNamespace(sleep=pause))
    claimed = store.claims.claim_one(worker.pk, second.pk)
    assert claimed.id == second.pk
    assert (woken.done(), store.database.slots.count()) == (True, 1)


@row_locks
def test_two_claims_of_one_key_share_its_places(store, worker, sessions):
    attempts = enqueued(store, 8, limit_key="k", concurrency=3)
    heirs = [registered(store) for _ in range(4)]
    workers = [sessions() for _ in heirs]
    begun = [
        session.start(partial(store.claims.claim, heir.pk, ["default"], 2))
        for session, heir in zip(workers, heirs, strict=True)
    ]
    claims = [one.result() for one in begun]
    assert sum(map(len, claims)) == 3
    for heir, one in zip(heirs, claims, strict=True):
        # Another claim may have locked for a moment what was to be parked: it is given back.
        finish_all(store, heir, one.unrecorded)
    found = Counter(statuses(store, attempts))
    assert (found["running"], found["waiting"] + found["pending"]) == (3, 5)


@row_locks
def test_what_somebody_locks_cannot_be_parked_and_is_offered_again(
    store, worker, sessions, monkeypatch
):
    """A caller that waited for the claim has the row from its commit on."""
    placed, locked = enqueued(store, 2, limit_key="k")
    somebody = sessions()
    somebody.begin()
    make_slots = store.limits._make_slots

    def lock_first(claims, most):
        somebody.do(lock_row, store, locked)
        make_slots(claims, most)

    monkeypatch.setattr(store.limits, "_make_slots", lock_first)
    claims = claim(store, worker)
    assert [one.id for one in claims] == [placed.pk]
    [(left, outcome)] = claims.unrecorded
    assert (left.id, outcome) == (locked.pk, Released())
    assert statuses(store, [placed, locked]) == ["running", "running"]
    somebody.rollback()
    assert store.outcomes.finish(worker.pk, claims.unrecorded) == []
    monkeypatch.undo()
    assert claim(store, worker) == []
    assert statuses(store, [placed, locked]) == ["running", "waiting"]
    assert row(store, locked).num_attempts == 0


def test_places_whose_first_one_was_forgotten_keep_nobody_waiting(store, worker):
    """One may be made while another process deletes those that it has read."""
    attempts = enqueued(store, 2, limit_key="k", concurrency=2)
    put(store, attempts[0], status="waiting")
    put(store, attempts[1], status="waiting")
    store.database.slots.create(key=key_of_limit("k"), number=1)
    assert store.limits.unpark_all() == 1
    [first] = claim(store, worker)
    assert (first.id, store.limits.unpark(["k"])) == (attempts[0].pk, 1)
    assert [one.id for one in claim(store, worker)] == [attempts[1].pk]
