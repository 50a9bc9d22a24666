"""Claims that the database made and whose worker never heard of them are given back."""

from __future__ import annotations

from uuid import uuid4

from async_attempts.store import Unknown
from tests.store.sessions import lock_as_a_claim

from .rows import enqueued, every_column, failures, registered, row
from .test_progress import ROW_LOCKS, lock_row


def test_they_are_given_back_with_their_counts(store, worker, claimed):
    claims = claimed(3)
    assert store.claims.release_unknown(worker.pk) is Unknown.NOTHING
    for claim in claims:
        written = row(store, claim)
        assert (written.state, written.claimed_by, written.started_at) == ("pending", None, None)
        assert (written.num_attempts, written.num_crashes, written.claim_seq) == (0, 0, 1)
    assert failures(store) == []


def test_what_is_in_hand_stays_there(store, worker, claimed):
    mine, unknown = claimed(2)
    assert store.claims.release_unknown(worker.pk, [mine.id]) is Unknown.NOTHING
    assert (row(store, mine).state, row(store, unknown).state) == ("running", "pending")


def test_what_others_hold_and_what_has_ended_stays_as_it_is(store, worker, claimed):
    [ended] = claimed()
    store.database.attempts.filter(pk=ended.id).expire("by hand")
    enqueued(store)
    heir = registered(store)
    store.claims.claim(heir.pk, ["default"], 1)
    before = every_column(store)
    assert store.claims.release_unknown(worker.pk) is Unknown.NOTHING
    assert store.claims.release_unknown(uuid4()) is Unknown.NOTHING
    assert every_column(store) == before


@ROW_LOCKS
def test_what_somebody_locks_is_passed_over_and_said_to_be_left(store, worker, claimed, sessions):
    locked, other = claimed(2)
    somebody = sessions()
    somebody.begin()
    somebody.do(lock_row, store, locked)
    assert store.claims.release_unknown(worker.pk) is Unknown.LOCKED
    assert (row(store, locked).state, row(store, other).state) == ("running", "pending")
    somebody.rollback()
    assert store.claims.release_unknown(worker.pk) is Unknown.NOTHING
    assert row(store, locked).state == "pending"


@ROW_LOCKS
def test_nothing_is_given_back_over_a_claim_that_is_still_being_made(
    store, worker, claimed, sessions
):
    [claim] = claimed()
    claiming = sessions()
    claiming.begin()
    assert claiming.do(lock_as_a_claim, store, worker.pk)
    assert store.claims.release_unknown(worker.pk) is Unknown.CLAIM
    assert row(store, claim).state == "running"
    claiming.rollback()
    assert store.claims.release_unknown(worker.pk) is Unknown.NOTHING
