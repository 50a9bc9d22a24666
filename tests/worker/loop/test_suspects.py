"""What was in flight when a worker died is performed alone."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest

from async_attempts.calls import call, enqueue_many
from async_attempts.models import DatabaseNow
from async_attempts.store import store_for
from async_attempts.worker.execution.runner import SUCCEEDED, Execution
from async_attempts.worker.loop import poller
from async_attempts.worker.loop import suspects as suspect
from async_attempts.worker.loop.claim_loop import Loop
from async_attempts.worker.loop.in_flight import InFlight
from async_attempts.worker.loop.poller import Poller
from async_attempts.worker.loop.suspects import PATIENCE, Suspects
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.registration import Registration, new_worker
from async_attempts.worker.shared.stop_event import StopEvent
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, put, states, stored
from tests.worker.helpers.processes import lines, until

here = pytest.mark.only("sqlite", reason="this asks nothing of a database itself")


class Hands:
    """A hand, its lookout, and what is between them."""

    def __init__(self, database: str) -> None:
        self.store = store_for(database)
        self.worker = new_worker(queues=["default"])
        self.store.register(self.worker, 30)
        self.in_flight = InFlight(self.store)
        self.poller = Poller(self.store, ("default",), None)
        self.suspects = Suspects(self.in_flight, self.poller)

    def claim(self, *, suspects: bool) -> int:
        claims = self.store.claim(self.worker.pk, ["default"], 1, suspects=suspects)
        self.in_flight.take(claims)
        return len(claims)


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(suspect, "now", lambda: moment[0])
    return moment


@pytest.fixture
def in_flights(database: str, moment: list[float]) -> Hands:
    """With one suspect and one other due, and both seen."""
    in_flights = Hands(database)
    put(enqueued(database, effects.act), num_crashes=1)
    enqueued(database, effects.act)
    in_flights.poller.has_suspects, in_flights.poller.suspects_since = True, moment[0]
    return in_flights


@here
def test_one_is_next_when_the_hand_is_empty(in_flights):
    assert in_flights.suspects.are_next()
    in_flights.claim(suspects=False)
    assert not in_flights.suspects.are_next()
    assert in_flights.suspects.let_run_empty()


@here
def test_nothing_else_is_claimed_while_one_is_in_flight(in_flights, moment):
    in_flights.suspects.took(in_flights.claim(suspects=True))
    assert in_flights.suspects.let_run_empty()
    moment[0] += 10 * PATIENCE
    assert in_flights.suspects.let_run_empty()
    in_flights.in_flight.give_back()
    in_flights.in_flight.record()
    assert not in_flights.suspects.let_run_empty()


@here
def test_a_hand_that_does_not_run_empty_claims_on_and_says_so(in_flights, moment):
    in_flights.claim(suspects=False)
    assert not in_flights.suspects.wait_too_long()
    moment[0] += PATIENCE * 1.01
    assert in_flights.suspects.wait_too_long()
    assert not in_flights.suspects.let_run_empty()


@here
def test_a_claim_that_finds_none_keeps_nobody_from_anything(in_flights):
    in_flights.suspects.took(0)
    assert not in_flights.suspects.let_run_empty()
    assert not in_flights.suspects.are_next()


def test_a_drain_performs_them_too_and_clears_what_they_are_suspected_of(database, acting):
    in_flight = []
    acting(lambda: in_flight.append(states(database).count("running")))
    attempts = [enqueued(database, effects.act) for _ in range(6)]
    for attempt in attempts[::2]:
        put(attempt, num_crashes=1)
    drain(database)
    assert [(a.status, a.num_crashes) for a in map(stored, attempts)] == [("succeeded", 0)] * 6
    # The three suspects, each by itself; the others may have been claimed together.
    assert sorted(in_flight)[:3] == [1, 1, 1]


def test_another_process_performs_them_when_the_hand_never_runs_empty(database, workers, tmp_path):
    began, go, path = (str(tmp_path / name) for name in ("began", "go", "path"))
    slow = enqueued(database, effects.wait_for, began, go)
    worker = workers.start("--threads=2", "--poll-interval=0.05", f"--database={database}")
    until(lambda: lines(tmp_path / "began"), worker)
    later = {"scheduled_at": timedelta(hours=1)}
    suspects = [enqueued(database, effects.write, path, options=later) for _ in range(2)]
    for attempt in suspects:
        put(attempt, num_crashes=1, scheduled_at=DatabaseNow())
    until(lambda: all(stored(attempt).status == "succeeded" for attempt in suspects), worker)
    enqueue_many([call(effects.write, path).using(database=database)] * 4)
    until(lambda: len(lines(tmp_path / "path")) == 6, worker)
    assert stored(slow).state == "running"
    (tmp_path / "go").touch()
    until(lambda: stored(slow).status == "succeeded", worker)
    [(*_, slow_pid)] = lines(tmp_path / "began")
    assert {pid for *_, pid in lines(tmp_path / "path")[:2]}.isdisjoint({slow_pid})


@here
def test_what_is_due_beside_one_that_is_alone_keeps_no_loop_busy(in_flights, monkeypatch):
    """What can't be claimed yet is no reason to go round and round."""
    # Not until the next look, however long the machine takes for this.
    monkeypatch.setattr(poller, "now", lambda: 1000.0)
    waits: list[float] = []
    executor = mock.Mock(performers=4, first_batch=4, num_async=0)
    executor.work.side_effect = lambda seconds, *_: waits.append(seconds)
    loop = Loop(
        Options(database=in_flights.store.alias, queues=("default",)),
        in_flights.in_flight,
        executor=executor,
        poller=in_flights.poller,
        stop_event=StopEvent(),
        observer=mock.Mock(**{"is_worn_out.return_value": False}),
    )
    me = Registration(in_flights.worker, mock.Mock())
    loop._go_round(me)
    [suspect] = [in_flights.in_flight.next_at_once()]
    assert suspect is not None
    in_flights.poller.expect()
    in_flights.poller.poll(has_room=True)
    assert in_flights.poller.may_claim
    waits.clear()
    loop._go_round(me)
    assert min(waits) > 0
    in_flights.in_flight.ended(Execution(suspect, SUCCEEDED))
    loop._go_round(me)
    assert in_flights.in_flight.unbegun == 1
