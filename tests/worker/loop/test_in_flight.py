"""What a worker has in flight: threads take from it and bring back, and nothing falls down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from django.db import OperationalError

from async_attempts.calls import call, enqueue_many
from async_attempts.lifecycle import Released, Snoozed
from async_attempts.store import Claim, Unrecorded, store_for
from async_attempts.worker.execution.outcomes import SUCCEEDED
from async_attempts.worker.execution.runner import Execution
from async_attempts.worker.loop import in_flight as in_flights
from async_attempts.worker.loop.in_flight import InFlight
from async_attempts.worker.shared.registration import new_worker
from tests.shop import effects
from tests.worker.helpers.attempts import states
from tests.worker.helpers.processes import PATIENCE

pytestmark = pytest.mark.only("sqlite", reason="the hand asks nothing of a database itself")


@pytest.fixture
def in_flight(database: str) -> InFlight:
    return InFlight(store_for(database))


@pytest.fixture
def claimed(in_flight: InFlight) -> Callable[[int], list[Claim]]:
    """Lets so many attempts be claimed and taken in flight."""
    worker = new_worker(queues=["default"])
    in_flight.store.workers.register(worker, 30)

    def claimed(number: int) -> list[Claim]:
        enqueue_many([call(effects.act).using(database=in_flight.store.database.alias)] * number)
        claims = in_flight.store.claims.claim(worker.pk, ["default"], number)
        in_flight.take(claims)
        return claims

    return claimed


def begun(in_flight: InFlight) -> Claim:
    """The next one, which begins now."""
    claim = in_flight.next_at_once()
    assert claim is not None
    return claim


def test_claims_begin_in_the_order_in_which_they_were_claimed(in_flight, claimed):
    claims = claimed(3)
    assert [begun(in_flight) for _ in range(3)] == claims
    assert in_flight.next_at_once() is None
    assert (in_flight.unbegun, in_flight.begun, len(in_flight)) == (0, 3, 3)


def test_it_knows_how_far_each_is(in_flight, claimed):
    claimed(3)
    begun(in_flight)
    in_flight.ended(Execution(begun(in_flight), SUCCEEDED))
    assert (in_flight.unbegun, in_flight.begun, in_flight.to_record, len(in_flight)) == (1, 1, 1, 3)
    assert not in_flight.is_idle
    in_flight.ended(Execution(begun(in_flight), SUCCEEDED))
    assert (in_flight.unbegun, in_flight.begun, in_flight.to_record) == (0, 1, 2)


def test_what_has_ended_stays_in_flight_until_it_is_recorded(in_flight, claimed, database):
    claimed(2)
    for _ in range(2):
        in_flight.ended(Execution(begun(in_flight), SUCCEEDED))
    assert len(in_flight.collect()) == 2
    assert in_flight.collect() == []
    assert (in_flight.is_idle, in_flight.is_empty) == (True, False)
    assert states(database) == ["running", "running"]
    in_flight.record()
    assert in_flight.is_empty
    assert states(database) == ["succeeded", "succeeded"]


def test_a_database_that_fails_keeps_all_in_flight(in_flight, claimed, database, monkeypatch):
    claims = claimed(2)
    in_flight.ended(Execution(begun(in_flight), SUCCEEDED))
    in_flight.give_back()
    in_flight.collect()

    def fail(*args: object) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(in_flight.store.outcomes, "finish", fail)
        with pytest.raises(OperationalError):
            in_flight.record()
    assert sorted(in_flight.ids_of(claims[0].worker_id)) == sorted(claim.id for claim in claims)
    in_flight.record()
    assert in_flight.is_empty
    assert states(database) == ["succeeded", "pending"]


@pytest.fixture
def locked(in_flight: InFlight, monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """The ids of attempts whose rows somebody else locks: SQLite could not lock single ones."""
    locked: set[bytes] = set()
    finish = in_flight.store.outcomes.finish

    def finish_others(worker_id, results):
        left = [claim for claim, _ in results if claim.id_bytes in locked]
        finish(worker_id, [one for one in results if one[0] not in left])
        return Unrecorded((), left)

    monkeypatch.setattr(in_flight.store.outcomes, "finish", finish_others)
    return locked


def test_what_somebody_locks_stays_in_flight_and_is_offered_less_and_less_often(
    in_flight, claimed, database, monkeypatch, locked
):
    moment = [1000.0]
    monkeypatch.setattr(in_flights, "now", lambda: moment[0])
    first, _ = claimed(2)
    locked.add(first.id_bytes)
    for _ in range(2):
        in_flight.ended(Execution(begun(in_flight), SUCCEEDED))
    in_flight.collect()
    in_flight.record()
    assert states(database) == ["running", "succeeded"]
    assert in_flight.ids_of(first.worker_id) == [first.id]
    assert (in_flight.to_record, in_flight.is_idle, in_flight.has_performed) == (1, True, True)
    pauses = []
    for _ in range(10):
        assert not in_flight.can_record
        pauses.append(in_flight.seconds_to_offer)
        moment[0] += pauses[-1]
        assert in_flight.can_record
        in_flight.record()
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == pytest.approx(
        (in_flights.FIRST_PAUSE, in_flights.LONGEST_PAUSE)
    )
    locked.clear()
    moment[0] += in_flights.LONGEST_PAUSE
    in_flight.record()
    assert (in_flight.is_empty, in_flight.seconds_to_offer) == (True, None)
    assert states(database) == ["succeeded", "succeeded"]


def test_others_are_recorded_while_one_is_locked(in_flight, claimed, database, locked):
    first = claimed(1)[0]
    locked.add(first.id_bytes)
    in_flight.ended(Execution(begun(in_flight), SUCCEEDED))
    in_flight.collect()
    in_flight.record()
    claimed(1)
    in_flight.ended(Execution(begun(in_flight), SUCCEEDED))
    in_flight.collect()
    in_flight.record()
    assert states(database) == ["running", "succeeded"]


def test_what_a_claim_could_not_give_back_is_recorded_later(in_flight, claimed, database):
    [claim] = claimed(1)
    begun(in_flight)
    other = InFlight(in_flight.store)
    other.take_ended([(claim, Released())])
    assert (len(other), other.begun, other.can_record) == (1, 0, True)
    other.record()
    assert other.is_empty
    assert states(database) == ["pending"]


def test_only_what_has_not_begun_is_given_back(in_flight, claimed, database):
    claimed(3)
    mine = begun(in_flight)
    in_flight.give_back()
    assert in_flight.collect() == []
    in_flight.record()
    assert in_flight.ids_of(mine.worker_id) == [mine.id]
    assert states(database) == ["running", "pending", "pending"]


def test_what_an_earlier_incarnation_performs_is_not_taken_for_a_later_ones(in_flight, claimed):
    """Else a claim that it never heard of would stay its own for as long as it lives."""
    [claim] = claimed(1)
    assert in_flight.ids_of(claim.worker_id) == [claim.id]
    assert in_flight.ids_of(uuid4()) == []


def test_it_tells_whether_something_may_be_due_again(in_flight, claimed):
    claimed(3)
    in_flight.ended(Execution(begun(in_flight), SUCCEEDED))
    in_flight.collect()
    assert not in_flight.record()
    in_flight.ended(Execution(begun(in_flight), Snoozed(1)))
    in_flight.collect()
    assert in_flight.record()
    in_flight.give_back()
    assert in_flight.record()


def test_it_knows_how_long_the_next_one_waits(in_flight, claimed, monkeypatch):
    moment = [100.0]
    monkeypatch.setattr(in_flights, "now", lambda: moment[0])
    assert in_flight.seconds_unbegun() == 0
    claimed(2)
    moment[0] = 103.0
    claimed(1)
    assert in_flight.seconds_unbegun() == 3
    begun(in_flight)
    assert in_flight.seconds_unbegun() == 3
    begun(in_flight)
    moment[0] = 104.0
    assert in_flight.seconds_unbegun() == 1
    begun(in_flight)
    assert in_flight.seconds_unbegun() == 0


def test_many_threads_take_and_bring_back_each_once(in_flight, claimed, database, monkeypatch):
    rung = threading.Event()
    monkeypatch.setattr(in_flight, "_wake", rung.set)
    taken: list[list[Claim]] = [[] for _ in range(4)]

    def perform(mine: list[Claim]) -> None:
        while (claim := in_flight.next()) is not None:
            mine.append(claim)
            in_flight.ended(Execution(claim, SUCCEEDED))

    threads = [threading.Thread(target=perform, args=[mine]) for mine in taken]
    for thread in threads:
        thread.start()
    claims = [claim for _ in range(5) for claim in claimed(40)]
    while not in_flight.is_idle:
        assert rung.wait(PATIENCE)
        rung.clear()
        in_flight.collect()
    in_flight.record()
    in_flight.close(len(threads))
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(claim for mine in taken for claim in mine) == sorted(claims)
    assert set(states(database)) == {"succeeded"}


def test_what_was_given_back_waits_no_longer(in_flight, claimed, monkeypatch):
    moment = [1000.0]
    monkeypatch.setattr(in_flights, "now", lambda: moment[0])
    claimed(8)
    begun(in_flight)
    moment[0] += 60
    assert in_flight.seconds_unbegun() == 60
    in_flight.give_back()
    assert in_flight.seconds_unbegun() == 0
    claimed(1)
    moment[0] += 1
    assert in_flight.seconds_unbegun() == 1
