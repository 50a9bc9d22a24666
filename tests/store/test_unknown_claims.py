"""Claims that the database made and whose worker never heard of them are given back."""

from __future__ import annotations

from uuid import uuid4

from .rows import enqueued, every_column, failures, registered, row


def test_they_are_given_back_with_their_counts(store, worker, claimed):
    claims = claimed(3)
    assert store.release_unknown(worker.pk) == 3
    for claim in claims:
        written = row(store, claim)
        assert (written.state, written.claimed_by, written.started_at) == ("pending", None, None)
        assert (written.num_attempts, written.num_crashes, written.claim_seq) == (0, 0, 1)
    assert failures(store) == []


def test_what_is_in_hand_stays_there(store, worker, claimed):
    mine, unknown = claimed(2)
    assert store.release_unknown(worker.pk, [mine.id]) == 1
    assert (row(store, mine).state, row(store, unknown).state) == ("running", "pending")


def test_what_others_hold_and_what_has_ended_stays_as_it_is(store, worker, claimed):
    [ended] = claimed()
    store.attempts.filter(pk=ended.id).expire("by hand")
    enqueued(store)
    heir = registered(store)
    store.claim(heir.pk, ["default"], 1)
    before = every_column(store)
    assert store.release_unknown(worker.pk) == 0
    assert store.release_unknown(uuid4()) == 0
    assert every_column(store) == before
