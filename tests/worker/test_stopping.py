"""A worker that is told to stop finishes what has begun, and keeps nothing that hasn't."""

from __future__ import annotations

import signal

import pytest

from async_attempts.models import Worker
from tests.shop import effects
from tests.worker.attempts import enqueued, stored
from tests.worker.processes import lines, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_begun_end_and_releases_the_rest(database, workers, tmp_path, number):
    began, go = tmp_path / "began", tmp_path / "go"
    slow = enqueued(database, effects.wait_for, str(began), str(go))
    others = [enqueued(database, effects.write, str(tmp_path / "others")) for _ in range(3)]
    worker = workers.start(f"--database={database}")
    until(lambda: lines(began), worker)
    assert [stored(other).state for other in others] == ["running"] * 3
    worker.signal(number)
    go.touch()
    assert worker.exit_code() == 0, worker.output
    assert stored(slow).status == "succeeded"
    for other in map(stored, others):
        assert (other.state, other.num_attempts, other.claim_seq) == ("pending", 0, 1)
        assert (other.claimed_by, other.started_at) == (None, None)
    assert not (tmp_path / "others").exists()
    assert Worker.objects.using(database).get().state == "stopped"


def test_a_second_signal_cuts_nothing_short(database, workers, tmp_path):
    began, go = tmp_path / "began", tmp_path / "go"
    slow = enqueued(database, effects.wait_for, str(began), str(go))
    worker = workers.start(f"--database={database}")
    until(lambda: lines(began), worker)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        worker.signal(number)
    go.touch()
    assert worker.exit_code() == 0, worker.output
    assert stored(slow).status == "succeeded"


def test_an_idle_worker_ends_at_once(database, workers):
    worker = workers.start("--poll-interval=3600", f"--database={database}")
    until(Worker.objects.using(database).filter(state="live").exists, worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output
    assert Worker.objects.using(database).get().state == "stopped"
