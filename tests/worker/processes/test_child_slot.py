"""A place for a child: when the next one is born, and what the last one leaves."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from unittest import mock
from uuid import UUID, uuid4

import pytest

from async_attempts.targets import Policy
from async_attempts.worker.processes import child_slot as child_slots
from async_attempts.worker.processes.child_slot import (
    LONGEST_PAUSE,
    SHORT_LIFE,
    STUCK_AFTER,
    ChildSlot,
)
from async_attempts.worker.shared import shared_memory
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.shared_memory import End

NO_OPTIONS = Policy()


def exited(code: int) -> int:
    """The status of wait(2) for this exit code."""
    return code << 8


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(child_slots, "now", lambda: moment[0])
    return moment


@pytest.fixture
def child_slot(moment: list[float], monkeypatch: pytest.MonkeyPatch) -> ChildSlot:
    """One whose children are never forked, nor sent anything."""
    monkeypatch.setattr(child_slots, "fork", lambda _: 2**22)
    monkeypatch.setattr("async_attempts.worker.processes.child_slot.os.kill", lambda *_: None)
    child_slot = ChildSlot(Options(database="default", queues=("default",)))
    child_slot.spawn()
    return child_slot


def pause(child_slot: ChildSlot, moment: list[float]) -> float:
    """How long it is until the next one is born; then it is."""
    before = moment[0]
    while not child_slot.is_due:
        moment[0] += 0.05
    child_slot.spawn()
    return moment[0] - before


def test_the_next_is_forked_later_and_later_as_long_as_lives_are_short(child_slot, moment):
    pauses = []
    for _ in range(12):
        child_slot.ended(exited(1))
        pauses.append(pause(child_slot, moment))
    assert pauses == sorted(pauses)
    assert pauses[0] < 1
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE, abs=0.1)
    moment[0] += SHORT_LIFE
    child_slot.ended(exited(1))
    assert pause(child_slot, moment) < 1


def test_the_pause_stays_the_longest_after_any_number_of_short_lives(child_slot, moment):
    for _ in range(1100):
        child_slot.ended(exited(1))
        child_slot.spawn()
    child_slot.ended(exited(1))
    assert pause(child_slot, moment) == pytest.approx(LONGEST_PAUSE, abs=0.1)


def test_who_is_worn_out_is_replaced_at_once(child_slot, moment):
    for _ in range(3):
        child_slot.state.note_end(End.WORN_OUT)
        child_slot.ended(exited(0))
        assert pause(child_slot, moment) == 0


def test_who_is_done_is_not_replaced(child_slot, moment):
    child_slot.state.note_end(End.DONE)
    child_slot.ended(exited(0))
    moment[0] += 10 * LONGEST_PAUSE
    assert not child_slot.is_due


def test_a_child_that_left_nothing_in_flight_is_not_reaped(child_slot):
    child_slot.state.set_worker(uuid4())
    child_slot.state.note_end(End.DONE)
    assert child_slot.ended(exited(0)) is None


def test_an_exit_code_of_0_alone_does_not_spare_the_reaper(child_slot):
    child_slot.state.set_worker(uuid4())
    assert child_slot.ended(exited(0)) is not None


def test_a_child_that_died_before_it_registered_is_not_reaped(child_slot):
    assert child_slot.ended(signal.SIGKILL) is None


def begun(child_slot: ChildSlot, deadline: float, ends_by: float | None = None) -> UUID:
    """Let one begin; with `ends_by`, it was told that its time is over."""
    attempt_id = uuid4()
    offset = child_slot.state.begin(attempt_id.bytes, 4, deadline)
    assert offset is not None
    if ends_by is not None:
        child_slot.state.told(offset, ends_by)
    return attempt_id


def verdict_on(
    child_exit, attempt_id: UUID, claim_seq: int = 4, policy: Policy | None = NO_OPTIONS
):
    counts = {"claim_seq": claim_seq, "num_attempts": 1, "max_attempts": None}
    row = SimpleNamespace(id=attempt_id, queue="default", **counts)
    return child_exit.verdict({} if policy is None else {attempt_id: policy}, row)


@pytest.mark.parametrize(
    ("status", "how"),
    [(signal.SIGSEGV, "ended by SIGSEGV"), (exited(3), "ended with the exit code 3")],
)
def test_only_what_had_begun_counts_a_crash_of_its_own(child_slot, status, how):
    child_slot.state.set_worker(worker_id := uuid4())
    mine = begun(child_slot, 2000)
    child_exit = child_slot.ended(status)
    assert (child_exit.worker_id, child_exit.how) == (worker_id, how)
    assert verdict_on(child_exit, mine).kind == "crash"
    assert how in verdict_on(child_exit, mine).message
    assert verdict_on(child_exit, mine, claim_seq=5) is None
    assert verdict_on(child_exit, uuid4()) is None


def test_who_ignores_its_timeout_is_to_blame_and_nobody_beside_it(child_slot, moment):
    child_slot.state.set_worker(uuid4())
    late, in_time, over = (
        begun(child_slot, 990, 999),
        begun(child_slot, 2000),
        begun(child_slot, 0, 999),
    )
    begun(child_slot, 990, 1001)
    timed_out = child_slot.reason_to_kill()
    assert timed_out == {late}
    child_slot.kill(timed_out)
    child_exit = child_slot.ended(signal.SIGKILL)
    assert verdict_on(child_exit, late).kind == "timeout"
    assert [verdict_on(child_exit, one) for one in (in_time, over)] == [None, None]


def test_who_was_not_told_that_its_time_is_over_has_not_ignored_that(child_slot, moment):
    child_slot.state.set_worker(uuid4())
    late, in_time, told = (
        begun(child_slot, 999),
        begun(child_slot, 2000),
        begun(child_slot, 990, 999),
    )
    assert child_slot.reason_to_kill() == {told}
    assert child_slot.starved() == {late}
    child_slot.kill_starved()
    child_exit = child_slot.ended(signal.SIGKILL)
    # One of them starves the others: each is a suspect, and none has used up its executions.
    for attempt_id in (late, in_time, told):
        verdict = verdict_on(child_exit, attempt_id)
        assert (verdict.kind, verdict.delay, verdict.reason) == ("crash", 0, "")
        assert "no timeout could be told" in verdict.message


def test_a_moved_deadline_has_to_be_told_of_again(child_slot, moment):
    child_slot.state.set_worker(uuid4())
    offset = child_slot.state.begin(uuid4().bytes, 4, 990)
    child_slot.state.told(offset, 999)
    child_slot.state.move(offset, 1010)
    assert (child_slot.reason_to_kill(), child_slot.starved()) == (None, frozenset())
    moment[0] = 1010
    assert child_slot.reason_to_kill() is None
    assert child_slot.starved()


def test_nobody_is_to_blame_for_a_fault_of_the_process_itself(child_slot):
    child_slot.state.set_worker(uuid4())
    mine = begun(child_slot, 2000)
    child_slot.state.note_end(End.FAULTY)
    assert verdict_on(child_slot.ended(exited(1)), mine) is None


def test_nothing_is_to_blame_for_what_its_supervisor_ends_for_other_reasons(child_slot):
    child_slot.state.set_worker(uuid4())
    mine = begun(child_slot, 2000)
    child_slot.kill()
    child_exit = child_slot.ended(signal.SIGKILL)
    assert verdict_on(child_exit, mine) is None
    # Of these nobody knows that they may begin again.
    assert verdict_on(child_exit, mine, policy=Policy(max_crashes=1)).kind == "crash"
    assert verdict_on(child_exit, mine, policy=None).kind == "crash"


def test_a_loop_that_does_not_go_round_is_stuck_unless_a_target_is_at_work(child_slot, moment):
    child_slot.state.set_worker(uuid4())
    moment[0] += 2 * STUCK_AFTER
    assert child_slot.reason_to_kill() == frozenset()
    begun(child_slot, moment[0] + 1)
    assert child_slot.reason_to_kill() is None


def test_a_loop_that_waits_for_the_database_is_not_stuck(child_slot, moment, monkeypatch):
    monkeypatch.setattr(shared_memory, "now", lambda: moment[0])
    child_slot.state.set_worker(uuid4())
    child_slot.state.note_database(True)
    moment[0] += 10 * STUCK_AFTER
    assert child_slot.reason_to_kill() is None
    # It has its answer, and goes on: that it was away for long is no reason any more.
    child_slot.state.note_database(False)
    assert child_slot.reason_to_kill() is None
    moment[0] += 2 * STUCK_AFTER
    assert child_slot.reason_to_kill() == frozenset()


def test_a_child_that_was_just_forked_is_not_stuck(child_slot, moment):
    moment[0] += STUCK_AFTER / 2
    assert child_slot.reason_to_kill() is None


def test_a_child_that_cannot_be_forked_is_forked_later(moment, monkeypatch):
    monkeypatch.setattr(child_slots, "fork", mock.Mock(side_effect=[BlockingIOError(), 2**22]))
    child_slot = ChildSlot(Options(database="default", queues=("default",)))
    child_slot.spawn()
    assert child_slot.is_empty
    assert not child_slot.is_due
    assert pause(child_slot, moment) > 0
    assert not child_slot.is_empty
