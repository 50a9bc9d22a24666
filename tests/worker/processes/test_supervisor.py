"""What a supervisor does for its children, and what signals ask of it."""

from __future__ import annotations

import os
import re
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from uuid import uuid4

import pytest

from async_attempts import Backoff
from async_attempts.lifecycle import FailureKind
from async_attempts.models import Attempt, Worker
from async_attempts.targets import Policy
from async_attempts.worker.processes import reaper
from async_attempts.worker.processes.reaper import ChildExit
from async_attempts.worker.processes.supervisor import LAST_REAPING, Reaping, Supervisor
from async_attempts.worker.shared.fork import die_with_parent
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.shared_memory import Begun
from tests.shop import effects
from tests.worker.helpers.attempts import enqueued, raising, stored
from tests.worker.helpers.processes import WorkerProcess, lines, until

CRASHED, HANDED_BACK = 1, 4


@pytest.fixture
def busy(database, workers, tmp_path):
    """A worker that performs one attempt, which lasts until the file `go` is there."""
    began, go = tmp_path / "began", tmp_path / "go"
    attempt = enqueued(database, effects.wait_for, str(began), str(go))
    worker = workers.start("--shutdown-timeout=3600", f"--database={database}")
    until(lambda: lines(began), worker)
    return worker, attempt


def has_succeeded(attempt: Attempt) -> bool:
    return bool(stored(attempt).status == "succeeded")


def die_at_birth() -> None:
    live = mock.patch("async_attempts.worker.processes.child_slot.run_child")
    live.start().side_effect = lambda *_: os._exit(9)


def die_by_a_signal_at_birth() -> None:
    live = mock.patch("async_attempts.worker.processes.child_slot.run_child")
    live.start().side_effect = lambda *_: os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.only("sqlite", reason="the children die before they ask any database")
@pytest.mark.parametrize("prepare", [die_at_birth, die_by_a_signal_at_birth])
def test_it_gives_up_when_children_die_at_their_start(database, workers, prepare):
    worker = workers.start(f"--database={database}", prepare=prepare)
    assert worker.exit_code() == CRASHED, worker.output
    assert "children in a row died at their start; giving up" in worker.output
    assert not worker.group()


def test_children_that_die_at_work_are_no_reason_to_give_up(database, workers, tmp_path):
    worker = workers.start("--poll-interval=0.05", f"--database={database}")
    for number in range(6):
        attempt = enqueued(database, effects.write_and_die, str(tmp_path / "path"), 1)
        until(partial(has_succeeded, attempt), worker)
        assert len(lines(tmp_path / "path")) == 2 * (number + 1)
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0, worker.output


def fail_to_reap_once(failed: Path) -> None:
    def reap(database: str, child_exit: ChildExit) -> int:
        if failed.exists():
            return reaper.reap(database, child_exit)
        failed.touch()
        os._exit(1)

    mock.patch("async_attempts.worker.processes.supervisor.reap", reap).start()


def test_what_could_not_be_taken_back_at_first_is_taken_back(database, workers, tmp_path):
    workers.settings["LEASE"] = 3600
    failed = tmp_path / "failed"
    attempt = enqueued(database, effects.write_and_die, str(tmp_path / "path"), 1)
    prepare = partial(fail_to_reap_once, failed)
    worker = workers.start("--drain", f"--database={database}", prepare=prepare)
    assert worker.exit_code() == 0, worker.output
    assert failed.exists()
    assert "could not be taken back; trying again" in worker.output
    assert stored(attempt).status == "succeeded"


def reap_in_vain() -> None:
    def reap(database: str, child_exit: ChildExit) -> int:
        die_with_parent(signal.SIGKILL)
        time.sleep(3600)
        return 1

    mock.patch("async_attempts.worker.processes.supervisor.reap", reap).start()


@pytest.mark.slow
@pytest.mark.only("sqlite", reason="it is the supervisor's patience that counts")
def test_what_cannot_be_taken_back_does_not_hold_up_the_end(database, workers, tmp_path):
    """As in an outage: others take it back when the lease has run out."""
    enqueued(database, effects.write_and_die, str(tmp_path / "path"), 1)
    worker = workers.start("--shutdown-timeout=1", f"--database={database}", prepare=reap_in_vain)
    until(lambda: "was lost" in worker.output, worker)
    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    worker.exit_code()
    assert time.monotonic() - asked < 1 + LAST_REAPING + 5
    until(lambda: not worker.group())


class BrokenBackoff(Backoff):
    def delay(self, num_attempts: int) -> float:
        raise RuntimeError(num_attempts)


def test_who_lives_where_the_dead_cannot_be_reaped_keeps_its_lease(monkeypatch):
    monkeypatch.setattr(
        "async_attempts.worker.processes.supervisor.fork", raising(BlockingIOError())
    )
    supervisor = Supervisor(Options(database="default", queues=("default",)))
    (child_slot,) = supervisor.child_slots
    dead, living = uuid4(), uuid4()
    child_slot.state.set_worker(dead)
    supervisor._start_reaper(Reaping(child_slot, ChildExit(dead, "ended by SIGKILL")))
    assert child_slot.state.worker_id is None
    child_slot.state.set_worker(living)
    supervisor._failed_reapings.append(
        Reaping(child_slot, ChildExit(dead, "ended by SIGKILL"), failed=1)
    )
    supervisor._retry_reapers()
    assert child_slot.state.worker_id == living


def test_a_backoff_that_raises_keeps_nothing_from_being_taken_back():
    attempt_id = uuid4()
    policies = {attempt_id: Policy(backoff=BrokenBackoff())}
    counts = {"claim_seq": 1, "num_attempts": 1, "max_attempts": None}
    row = SimpleNamespace(id=attempt_id, queue="default", **counts)
    begun = (Begun(attempt_id, 1, 0.0),)
    verdict = ChildExit(uuid4(), "killed", begun, frozenset({attempt_id})).verdict(policies, row)
    assert verdict is not None
    assert (verdict.kind, verdict.reason) == (FailureKind.TIMEOUT, "")
    assert 15 <= verdict.delay <= 30


@pytest.mark.parametrize("numbers", [[signal.SIGINT, signal.SIGINT], [signal.SIGQUIT]])
def test_at_once_means_without_waiting_for_what_has_begun(database, busy, numbers):
    worker, attempt = busy
    for number in numbers:
        worker.signal(number)
        # A second one of the same number is one with the first, until that was heard.
        until(partial(has_heard, worker, number))
    assert worker.exit_code() == HANDED_BACK, worker.output
    attempt = stored(attempt)
    assert (attempt.state, attempt.num_attempts, attempt.num_crashes) == ("pending", 0, 0)
    assert not worker.group()


def has_heard(worker: WorkerProcess, number: int) -> bool:
    """Whether a signal that was sent has been delivered (proc_pid_status(5))."""
    if worker.has_ended:
        return True
    status = Path(f"/proc/{worker.pid}/status").read_text()
    pending = re.findall(r"^(?:Sig|Shd)Pnd:\s*(\w+)$", status, re.MULTILINE)
    return not any(int(mask, 16) >> (number - 1) & 1 for mask in pending)


def test_each_child_has_a_row_with_its_own_pid(database, workers):
    number = 1 if database == "default" else 3
    worker = workers.start(f"--processes={number}", "--name=nights", f"--database={database}")
    rows = Worker.objects.using(database).filter(state="live", name="nights")
    until(lambda: rows.count() == number, worker)
    children = {child.pid for child in worker.children()}
    assert {row.pid for row in rows} <= children
    assert len({row.pid for row in rows}) == number
