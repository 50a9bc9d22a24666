"""Suspects, which were in flight when a worker died, are performed alone."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest

from async_attempts.calls import call, enqueue_many
from async_attempts.models import DatabaseNow
from async_attempts.store import store_for
from async_attempts.worker.execution.outcomes import SUCCEEDED
from async_attempts.worker.execution.runner import Execution
from async_attempts.worker.loop.claim_loop import Loop
from async_attempts.worker.loop.in_flight import InFlight
from async_attempts.worker.loop.poller import Poller
from async_attempts.worker.loop.queue_filter import QueueFilter
from async_attempts.worker.processes.supervisor import Supervisor
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.registration import new_worker
from async_attempts.worker.shared.shared_memory import now
from async_attempts.worker.shared.wake_pipe import StopEvent
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, put, states, stored
from tests.worker.helpers.processes import lines, until

here = pytest.mark.only("sqlite", reason="this asks nothing of a database itself")


class Claiming:
    """A claim loop whose executor performs nothing."""

    def __init__(self, database: str, *, is_alone: bool = False, suspects_only: bool = False):
        store = store_for(database)
        worker = new_worker(queues=["default"])
        store.workers.register(worker, 30)
        self.in_flight = InFlight(store)
        executor = mock.Mock(performers=4, first_batch=4, num_async=0, is_alone=is_alone)
        executor.seconds_waiting.return_value, executor.give_back.return_value = 0.0, ()
        self.observer = mock.Mock(**{"is_worn_out.return_value": False})
        self.loop = Loop(
            Options(database=database, queues=("default",), suspects_only=suspects_only),
            self.in_flight,
            lease=mock.Mock(),
            executor=executor,
            poller=Poller(store, QueueFilter(("default",)), None),
            stop_event=StopEvent(),
            observer=self.observer,
        )
        self._me = worker

    def claimed(self) -> list[int]:
        """Go round once; the crashes of what is then about to begin, which succeeds."""
        self.loop.poller.expect()
        self.loop.poller._next_poll = 0.0
        self.loop._go_round(self._me)
        claims = list(iter(self.in_flight.next_at_once, None))
        for claim in claims:
            self.in_flight.ended(Execution(claim, SUCCEEDED))
        rows = self.loop.store.database.attempts
        return [rows.get(pk=claim.id).num_crashes for claim in claims]


@pytest.fixture
def suspects_and_others(database: str) -> None:
    """Two suspects and two others, all of them due."""
    for crashes in (1, 0, 1, 0):
        put(enqueued(database, effects.act), num_crashes=crashes)


@here
@pytest.mark.usefixtures("suspects_and_others")
def test_a_child_leaves_them_and_says_that_they_are_due(database):
    claiming = Claiming(database)
    assert claiming.claimed() == [0, 0]
    assert claiming.claimed() == []
    (_, _, seen_at), _ = claiming.observer.loop_ticked.call_args
    assert 0 < seen_at <= now()


@here
@pytest.mark.usefixtures("suspects_and_others")
def test_the_spare_child_claims_them_one_by_one_and_nothing_else(database):
    claiming = Claiming(database, suspects_only=True)
    assert [claiming.claimed() for _ in range(3)] == [[1], [1], []]
    assert claiming.loop._is_done(claiming._me)


@here
@pytest.mark.usefixtures("suspects_and_others")
def test_a_loop_in_its_own_process_claims_one_when_nothing_is_in_flight(database):
    claiming = Claiming(database, is_alone=True)
    assert claiming.claimed() == [1]
    # It hasn't been recorded yet when the loop claims again.
    with mock.patch.object(claiming.in_flight, "record", return_value=False):
        assert claiming.claimed() == [0, 0]
    assert claiming.claimed() == [1]


@here
def test_the_spare_child_starts_once_for_each_time_that_they_were_seen(database, monkeypatch):
    supervisor = Supervisor(Options(database=database, queues=("default",)))
    spawned: list[bool] = []
    monkeypatch.setattr(supervisor.spare, "spawn", lambda: spawned.append(True))
    supervisor._perform_suspects()
    assert not spawned
    supervisor.child_slots[0].state.suspects_seen_at = now()
    supervisor._perform_suspects()
    assert spawned == [True]
    supervisor.spare.ended_at = now()
    supervisor._perform_suspects()
    assert spawned == [True]
    supervisor.child_slots[0].state.suspects_seen_at = now()
    supervisor._perform_suspects()
    assert spawned == [True, True]


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


def test_a_process_of_its_own_performs_them_beside_the_others(database, workers, tmp_path):
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


@pytest.mark.parametrize("how", ["--drain", "--once"])
def test_a_worker_that_ends_by_itself_performs_them(database, workers, tmp_path, how):
    suspect = enqueued(database, effects.write, str(tmp_path / "path"))
    put(suspect, num_crashes=1)
    worker = workers.start(how, f"--database={database}")
    assert worker.exit_code() == 0, worker.output
    assert (stored(suspect).status, stored(suspect).num_crashes) == ("succeeded", 0)
