"""What a worker has in hand: threads take from it and bring back, and nothing falls down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import OperationalError

from async_attempts.api import call, enqueue_many
from async_attempts.lifecycle import Released, Snoozed
from async_attempts.store import Claim, Unrecorded, store_for
from async_attempts.worker.execution.runner import SUCCEEDED, Execution
from async_attempts.worker.loop import in_flight as hands
from async_attempts.worker.loop.in_flight import Hand
from async_attempts.worker.shared.registration import new_worker
from tests.shop import effects
from tests.worker.helpers.attempts import states
from tests.worker.helpers.processes import PATIENCE

pytestmark = pytest.mark.only("sqlite", reason="the hand asks nothing of a database itself")


@pytest.fixture
def hand(database: str) -> Hand:
    return Hand(store_for(database))


@pytest.fixture
def claimed(hand: Hand) -> Callable[[int], list[Claim]]:
    """Lets so many attempts be claimed and taken in hand."""
    worker = new_worker(queues=["default"])
    hand.store.register(worker, 30)

    def claimed(number: int) -> list[Claim]:
        enqueue_many([call(effects.act).using(database=hand.store.alias)] * number)
        claims = hand.store.claim(worker.pk, ["default"], number)
        hand.take(claims)
        return claims

    return claimed


def begun(hand: Hand) -> Claim:
    """The next one, which begins now."""
    claim = hand.next_at_once()
    assert claim is not None
    return claim


def test_claims_begin_in_the_order_in_which_they_were_claimed(hand, claimed):
    claims = claimed(3)
    assert [begun(hand) for _ in range(3)] == claims
    assert hand.next_at_once() is None
    assert (hand.unbegun, hand.begun, len(hand)) == (0, 3, 3)


def test_it_knows_how_far_each_is(hand, claimed):
    claimed(3)
    begun(hand)
    hand.ended(Execution(begun(hand), SUCCEEDED))
    assert (hand.unbegun, hand.begun, hand.to_record, len(hand)) == (1, 1, 1, 3)
    assert not hand.is_idle
    hand.ended(Execution(begun(hand), SUCCEEDED))
    assert (hand.unbegun, hand.begun, hand.to_record) == (0, 1, 2)


def test_what_has_ended_stays_in_hand_until_it_is_recorded(hand, claimed, database):
    claimed(2)
    for _ in range(2):
        hand.ended(Execution(begun(hand), SUCCEEDED))
    assert len(hand.collect()) == 2
    assert hand.collect() == []
    assert (hand.is_idle, hand.is_empty) == (True, False)
    assert states(database) == ["running", "running"]
    hand.record()
    assert hand.is_empty
    assert states(database) == ["succeeded", "succeeded"]


def test_a_database_that_fails_leaves_all_of_it_in_hand(hand, claimed, database, monkeypatch):
    claims = claimed(2)
    hand.ended(Execution(begun(hand), SUCCEEDED))
    hand.give_back()
    hand.collect()

    def fail(*args: object) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(hand.store, "finish", fail)
        with pytest.raises(OperationalError):
            hand.record()
    assert sorted(hand.ids_of(claims[0].worker_id)) == sorted(claim.id for claim in claims)
    hand.record()
    assert hand.is_empty
    assert states(database) == ["succeeded", "pending"]


@pytest.fixture
def locked(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """The ids of attempts whose rows somebody else locks: SQLite could not lock single ones."""
    locked: set[bytes] = set()
    finish = hand.store.finish

    def finish_others(worker_id, results):
        left = [claim for claim, _ in results if claim.id_bytes in locked]
        finish(worker_id, [one for one in results if one[0] not in left])
        return Unrecorded((), left)

    monkeypatch.setattr(hand.store, "finish", finish_others)
    return locked


def test_what_somebody_locks_stays_in_hand_and_is_offered_less_and_less_often(
    hand, claimed, database, monkeypatch, locked
):
    moment = [1000.0]
    monkeypatch.setattr(hands, "now", lambda: moment[0])
    first, _ = claimed(2)
    locked.add(first.id_bytes)
    for _ in range(2):
        hand.ended(Execution(begun(hand), SUCCEEDED))
    hand.collect()
    hand.record()
    assert states(database) == ["running", "succeeded"]
    assert hand.ids_of(first.worker_id) == [first.id]
    assert (hand.to_record, hand.is_idle, hand.has_performed) == (1, True, True)
    pauses = []
    for _ in range(10):
        assert not hand.can_record
        pauses.append(hand.seconds_to_offer)
        moment[0] += pauses[-1]
        assert hand.can_record
        hand.record()
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == pytest.approx((hands.FIRST_PAUSE, hands.LONGEST_PAUSE))
    locked.clear()
    moment[0] += hands.LONGEST_PAUSE
    hand.record()
    assert (hand.is_empty, hand.seconds_to_offer) == (True, None)
    assert states(database) == ["succeeded", "succeeded"]


def test_others_are_recorded_while_one_is_locked(hand, claimed, database, monkeypatch, locked):
    monkeypatch.setattr(hands, "FIRST_PAUSE", 3600)
    first = claimed(1)[0]
    locked.add(first.id_bytes)
    hand.ended(Execution(begun(hand), SUCCEEDED))
    hand.collect()
    hand.record()
    claimed(1)
    hand.ended(Execution(begun(hand), SUCCEEDED))
    hand.collect()
    hand.record()
    assert states(database) == ["running", "succeeded"]


def test_what_a_claim_could_not_give_back_is_recorded_later(hand, claimed, database):
    [claim] = claimed(1)
    begun(hand)
    other = Hand(hand.store)
    other.take_ended([(claim, Released())])
    assert (len(other), other.begun, other.can_record) == (1, 0, True)
    other.record()
    assert other.is_empty
    assert states(database) == ["pending"]


def test_only_what_has_not_begun_is_given_back(hand, claimed, database):
    claimed(3)
    mine = begun(hand)
    hand.give_back()
    assert hand.collect() == []
    hand.record()
    assert hand.ids_of(mine.worker_id) == [mine.id]
    assert states(database) == ["running", "pending", "pending"]


def test_what_an_earlier_incarnation_performs_is_not_taken_for_a_later_ones(hand, claimed):
    """Else a claim that it never heard of would stay its own for as long as it lives."""
    [claim] = claimed(1)
    assert hand.ids_of(claim.worker_id) == [claim.id]
    assert hand.ids_of(uuid4()) == []


def test_it_tells_whether_something_may_be_due_again(hand, claimed):
    claimed(3)
    hand.ended(Execution(begun(hand), SUCCEEDED))
    hand.collect()
    assert not hand.record()
    hand.ended(Execution(begun(hand), Snoozed(1)))
    hand.collect()
    assert hand.record()
    hand.give_back()
    assert hand.record()


def test_it_knows_how_long_the_next_one_waits(hand, claimed, monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(hands, "now", lambda: moment[0])
    assert hand.seconds_unbegun() == 0
    claimed(2)
    moment[0] = 103.0
    claimed(1)
    assert hand.seconds_unbegun() == 3
    begun(hand)
    assert hand.seconds_unbegun() == 3
    begun(hand)
    moment[0] = 104.0
    assert hand.seconds_unbegun() == 1
    begun(hand)
    assert hand.seconds_unbegun() == 0


def test_many_threads_take_and_bring_back_each_once(hand, claimed, database):
    rung = threading.Event()
    hand.ring = rung.set
    taken: list[list[Claim]] = [[] for _ in range(4)]

    def perform(mine: list[Claim]) -> None:
        while (claim := hand.next()) is not None:
            mine.append(claim)
            hand.ended(Execution(claim, SUCCEEDED))

    threads = [threading.Thread(target=perform, args=[mine]) for mine in taken]
    for thread in threads:
        thread.start()
    claims = [claim for _ in range(5) for claim in claimed(40)]
    while not hand.is_idle:
        assert rung.wait(PATIENCE)
        rung.clear()
        hand.collect()
    hand.record()
    hand.close(len(threads))
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(claim for mine in taken for claim in mine) == sorted(claims)
    assert set(states(database)) == {"succeeded"}


def test_what_was_given_back_waits_no_longer(hand, claimed, monkeypatch):
    moment = [1000.0]
    monkeypatch.setattr(hands, "now", lambda: moment[0])
    claimed(8)
    begun(hand)
    moment[0] += 60
    assert hand.seconds_unbegun() == 60
    hand.give_back()
    assert hand.seconds_unbegun() == 0
    claimed(1)
    moment[0] += 1
    assert hand.seconds_unbegun() == 1
