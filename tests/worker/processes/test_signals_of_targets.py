"""Signals end the processes that a target forks and the programs that it starts, as anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import warnings

import pytest

from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, failures, stored
from tests.worker.helpers.processes import until

pytestmark = pytest.mark.only("sqlite", reason="nothing is asked of the database")

ENDING = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1]


def end_program(number: int) -> None:
    """A program that is started ends by this signal."""
    with subprocess.Popen(["sleep", "60"]) as program:
        try:
            program.send_signal(number)
            assert program.wait(timeout=5) == -number
        finally:
            program.kill()


def end_fork(number: int) -> None:
    """A process that is forked, and has set nothing, ends by this signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            # For its parent to see.
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    os.kill(pid, number)
    limit = time.monotonic() + 5
    while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < limit:
        time.sleep(0.01)
    if not ended[0]:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended[0], f"it goes on after {number}"
    allowed = {number, signal.SIGKILL} if number == signal.SIGINT else {number}
    assert os.WTERMSIG(ended[1]) in allowed


def end_both(number: int) -> None:
    end_program(number)
    end_fork(number)


def end_fork_with_a_handler_of_its_own(number: int) -> None:
    """What the target has set itself is inherited."""
    seen: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, _: seen.append(number))
    hears, rings = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGUSR2)
        os.write(rings, b"heard" if seen else b"not heard")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(hears, 9) == b"heard"


def ends_both() -> None:
    effects.action = end_both


def handles_itself() -> None:
    effects.action = end_fork_with_a_handler_of_its_own


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 3])
def test_each_signal_ends_what_a_target_has_begun(database, workers, threads):
    """With one thread the main one performs; else any does."""
    attempts = [enqueued(database, effects.act, int(number)) for number in ENDING]
    worker = workers.start(
        "--drain", f"--threads={threads}", f"--database={database}", prepare=ends_both
    )
    assert worker.exit_code() == 0, worker.output
    assert [f.message for attempt in attempts for f in failures(attempt)] == []
    assert {stored(attempt).status for attempt in attempts} == {"succeeded"}


def test_what_a_target_handles_itself_is_left_to_it(database, workers):
    attempt = enqueued(database, effects.act, 0)
    arguments = ("--drain", "--threads=1", f"--database={database}")
    worker = workers.start(*arguments, prepare=handles_itself)
    assert worker.exit_code() == 0, worker.output
    assert stored(attempt).status == "succeeded"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM])
def test_a_drain_in_this_process_hands_on_no_handler_either(database, acting, number):
    acting(end_fork)
    attempt = enqueued(database, effects.act, int(number))
    drain(database)
    assert [failure.message for failure in failures(attempt)] == []


def test_a_signal_to_the_whole_group_reaches_no_target(database, workers, tmp_path):
    """A terminal sends it to all; the children hear from their supervisor."""
    began, go = tmp_path / "began", tmp_path / "go"
    attempt = enqueued(database, effects.wait_for, str(began), str(go))
    worker = workers.start("--threads=1", f"--database={database}")
    until(began.exists, worker)
    worker.signal_group(signal.SIGINT)
    worker.signal(signal.SIGUSR1)
    until(lambda: f"begun: {attempt.pk}" in worker.output, worker)
    go.touch()
    assert worker.exit_code() == 0, worker.output
    assert (stored(attempt).status, failures(attempt)) == ("succeeded", [])
