"""A place for a child: when the next one is born, and what the last one leaves."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from unittest import mock
from uuid import UUID, uuid4

import pytest

from async_attempts.worker.processes import child_slot as cradles
from async_attempts.worker.processes.child_slot import LONGEST_PAUSE, SHORT_LIFE, UNHEARD, Cradle
from async_attempts.worker.shared import shared_memory as memory
from async_attempts.worker.shared.options import Options
from async_attempts.worker.shared.shared_memory import End


def exited(code: int) -> int:
    """The status of wait(2) for this exit code."""
    return code << 8


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(cradles, "now", lambda: moment[0])
    return moment


@pytest.fixture
def cradle(moment: list[float], monkeypatch: pytest.MonkeyPatch) -> Cradle:
    """One whose children are never forked, nor sent anything."""
    monkeypatch.setattr(cradles, "forked", lambda _: 2**22)
    monkeypatch.setattr("async_attempts.worker.processes.child_slot.os.kill", lambda *_: None)
    cradle = Cradle(Options(database="default", queues=("default",)))
    cradle.spawn()
    return cradle


def pause(cradle: Cradle, moment: list[float]) -> float:
    """How long it is until the next one is born; then it is."""
    before = moment[0]
    while not cradle.is_due:
        moment[0] += 0.05
    cradle.spawn()
    return moment[0] - before


def test_the_next_is_born_later_and_later_as_long_as_lives_are_short(cradle, moment):
    pauses = []
    for _ in range(12):
        cradle.ended(exited(1))
        pauses.append(pause(cradle, moment))
    assert pauses == sorted(pauses)
    assert pauses[0] < 1
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE, abs=0.1)
    moment[0] += SHORT_LIFE
    cradle.ended(exited(1))
    assert pause(cradle, moment) < 1


def test_who_is_worn_out_is_replaced_at_once(cradle, moment):
    for _ in range(3):
        cradle.page.come_to(End.WORN_OUT)
        cradle.ended(exited(0))
        assert pause(cradle, moment) == 0


def test_who_is_done_is_not_replaced(cradle, moment):
    cradle.page.come_to(End.DONE)
    cradle.ended(exited(0))
    moment[0] += 10 * LONGEST_PAUSE
    assert not cradle.is_due


def test_who_left_nothing_in_hand_is_not_buried(cradle):
    cradle.page.become(uuid4())
    cradle.page.come_to(End.DONE)
    assert cradle.ended(exited(0)) is None


def test_who_ended_well_by_its_exit_code_alone_is_buried(cradle):
    cradle.page.become(uuid4())
    assert cradle.ended(exited(0)) is not None


def test_who_died_before_it_was_anybody_is_not_buried(cradle):
    assert cradle.ended(signal.SIGKILL) is None


def begun(cradle: Cradle, deadline: float, ends_by: float | None = None) -> UUID:
    """Let one begin; with `ends_by`, it was told that its time is over."""
    attempt_id = uuid4()
    place = cradle.page.begin(attempt_id.bytes, 4, deadline)
    assert place is not None
    if ends_by is not None:
        cradle.page.told(place, ends_by)
    return attempt_id


def verdict_on(death, attempt_id: UUID, claim_seq: int = 4):
    row = SimpleNamespace(id=attempt_id, claim_seq=claim_seq, num_attempts=1, max_attempts=None)
    return death.judge({}, row)


@pytest.mark.parametrize(
    ("status", "how"),
    [(signal.SIGSEGV, "ended by SIGSEGV"), (exited(3), "ended with the exit code 3")],
)
def test_only_what_had_begun_counts_a_crash_of_its_own(cradle, status, how):
    cradle.page.become(worker_id := uuid4())
    mine = begun(cradle, 2000)
    death = cradle.ended(status)
    assert (death.worker_id, death.how) == (worker_id, how)
    assert verdict_on(death, mine).kind == "crash"
    assert how in verdict_on(death, mine).message
    assert verdict_on(death, mine, claim_seq=5) is None
    assert verdict_on(death, uuid4()) is None


def test_who_ignores_its_timeout_is_to_blame_and_nobody_beside_it(cradle, moment):
    cradle.page.become(uuid4())
    late, in_time, over = begun(cradle, 990, 999), begun(cradle, 2000), begun(cradle, 0, 999)
    begun(cradle, 990, 1001)
    culprits = cradle.is_hopeless()
    assert culprits == {late}
    cradle.kill(culprits)
    death = cradle.ended(signal.SIGKILL)
    assert verdict_on(death, late).kind == "timeout"
    assert [verdict_on(death, one) for one in (in_time, over)] == [None, None]


def test_who_was_not_told_that_its_time_is_over_has_not_ignored_that(cradle, moment):
    cradle.page.become(uuid4())
    late, in_time, told = begun(cradle, 999), begun(cradle, 2000), begun(cradle, 990, 999)
    assert cradle.is_hopeless() == {told}
    assert cradle.starved() == {late}
    cradle.kill_starved()
    death = cradle.ended(signal.SIGKILL)
    # One of them starves the others: each is a suspect, and none has used up its executions.
    for attempt_id in (late, in_time, told):
        verdict = verdict_on(death, attempt_id)
        assert (verdict.kind, verdict.delay, verdict.reason) == ("crash", 0, "")
        assert "no timeout could be told" in verdict.message


def test_a_moved_deadline_has_to_be_told_of_again(cradle, moment):
    cradle.page.become(uuid4())
    place = cradle.page.begin(uuid4().bytes, 4, 990)
    cradle.page.told(place, 999)
    cradle.page.move(place, 1010)
    assert (cradle.is_hopeless(), cradle.starved()) == (None, frozenset())
    moment[0] = 1010
    assert cradle.is_hopeless() is None
    assert cradle.starved()


def test_nobody_is_to_blame_for_a_fault_of_the_process_itself(cradle):
    cradle.page.become(uuid4())
    mine = begun(cradle, 2000)
    cradle.page.come_to(End.FAULTY)
    assert verdict_on(cradle.ended(exited(1)), mine) is None


def test_nothing_is_to_blame_for_what_its_supervisor_ends_for_other_reasons(cradle):
    cradle.page.become(uuid4())
    mine = begun(cradle, 2000)
    cradle.kill()
    assert verdict_on(cradle.ended(signal.SIGKILL), mine) is None


def test_a_loop_that_does_not_go_round_is_stuck_unless_a_target_is_at_work(cradle, moment):
    cradle.page.become(uuid4())
    moment[0] += 2 * UNHEARD
    assert cradle.is_hopeless() == frozenset()
    begun(cradle, moment[0] + 1)
    assert cradle.is_hopeless() is None


def test_a_loop_that_waits_for_the_database_is_not_stuck(cradle, moment, monkeypatch):
    monkeypatch.setattr(memory, "now", lambda: moment[0])
    cradle.page.become(uuid4())
    cradle.page.note_database(True)
    moment[0] += 10 * UNHEARD
    assert cradle.is_hopeless() is None
    # It has its answer, and goes on: that it was away for long is no reason any more.
    cradle.page.note_database(False)
    assert cradle.is_hopeless() is None
    moment[0] += 2 * UNHEARD
    assert cradle.is_hopeless() == frozenset()


def test_a_child_that_was_just_born_is_not_stuck(cradle, moment):
    moment[0] += UNHEARD / 2
    assert cradle.is_hopeless() is None


def test_a_child_that_cannot_be_forked_is_born_later(moment, monkeypatch):
    monkeypatch.setattr(cradles, "forked", mock.Mock(side_effect=[BlockingIOError(), 2**22]))
    cradle = Cradle(Options(database="default", queues=("default",)))
    cradle.spawn()
    assert cradle.is_empty
    assert not cradle.is_due
    assert pause(cradle, moment) > 0
    assert not cradle.is_empty
