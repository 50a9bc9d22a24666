"""A worker that is told to stop finishes what has begun, and keeps nothing that hasn't."""

from __future__ import annotations

import signal
from functools import partial
from unittest import mock

import pytest

from async_attempts.models import Worker
from async_attempts.worker.execution.timeouts import NoWatch
from async_attempts.worker.processes.in_process import in_process_loop
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.wake_pipe import StopEvent
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, stored
from tests.worker.helpers.processes import lines, until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_begun_end_and_releases_the_rest(database, workers, tmp_path, number):
    began, go = tmp_path / "began", tmp_path / "go"
    slow = enqueued(database, effects.wait_for, str(began), str(go))
    others = [enqueued(database, effects.write, str(tmp_path / "others")) for _ in range(3)]
    # What one claim took stays in flight; else it would be given back, as the first one is slow.
    worker = workers.start("--once", "--threads=1", f"--database={database}")
    until(lambda: lines(began), worker)
    assert [stored(other).state for other in others] == ["running"] * 3
    worker.signal(number)
    until(lambda: [stored(other).state for other in others] == ["pending"] * 3, worker)
    assert stored(slow).state == "running"
    go.touch()
    assert worker.exit_code() == 0, worker.output
    assert stored(slow).status == "succeeded"
    for other in map(stored, others):
        assert (other.state, other.num_attempts, other.claim_seq) == ("pending", 0, 1)
        assert (other.claimed_by, other.started_at) == (None, None)
    assert not (tmp_path / "others").exists()
    assert Worker.objects.using(database).get().state == "stopped"


def test_nothing_but_a_second_sigint_cuts_anything_short(database, workers, tmp_path):
    began, go = tmp_path / "began", tmp_path / "go"
    slow = enqueued(database, effects.wait_for, str(began), str(go))
    worker = workers.start(f"--database={database}")
    until(lambda: lines(began), worker)

    def has_told(times: int) -> bool:
        return bool(worker.output.count(f"begun: {slow.pk}") >= times)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    for told, number in enumerate(numbers, start=1):
        worker.signal(number)
        # When it tells what is in flight, it has done what it was told before this one.
        worker.signal(signal.SIGUSR1)
        until(partial(has_told, told), worker)
    go.touch()
    assert worker.exit_code() == 0, worker.output
    assert stored(slow).status == "succeeded"


def test_a_round_that_hears_that_it_is_the_last_claims_nothing(database):
    attempt = enqueued(database, effects.act)
    options = Options(database=database, queues=("default",))
    stop_event = StopEvent()
    loop = in_process_loop(options, stop_event, NoWatch())
    loop.observer = mock.Mock()
    loop.observer.loop_ticked.side_effect = lambda *_, **__: stop_event.set()
    loop.run()
    assert (stored(attempt).status, stored(attempt).claim_seq) == ("pending", 0)


def test_an_idle_worker_ends_at_once(database, workers):
    worker = workers.start("--poll-interval=3600", f"--database={database}")
    until(Worker.objects.using(database).filter(state="live").exists, worker)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output
    assert Worker.objects.using(database).get().state == "stopped"
