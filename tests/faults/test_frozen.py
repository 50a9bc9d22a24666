"""Guarantee 2: who was frozen beyond the lease records nothing of what others hold since."""

from __future__ import annotations

from queue import SimpleQueue
from unittest import mock

from async_attempts import current_attempt
from async_attempts.lifecycle import Released
from async_attempts.models import DatabaseNow, Worker
from async_attempts.store import store_for
from async_attempts.worker.execution.prepare import prepare
from async_attempts.worker.execution.runner import Execution, Runner
from async_attempts.worker.executors.event_loop import EventLoop
from tests.faults.conftest import LEASE
from tests.faults.fleet import ALONE, drained, started, stopped, workers_named
from tests.faults.leases import let_leases_run_out
from tests.shop import effects, hazards
from tests.store.rows import registered
from tests.worker.helpers.attempts import drain, enqueued, failures, states, stored
from tests.worker.helpers.processes import PATIENCE, until


def test_what_a_frozen_group_held_is_performed_by_another(database, mortals, book):
    options = {"keep_result": True, "priority": 9}
    slow = enqueued(database, hazards.wait_at_first, book.path, book.go, options=options)
    unbegun = enqueued(database, hazards.leave_traces, book.path)
    book.promise([slow, unbegun])
    frozen = started(mortals, database, *ALONE, "--name=frozen")
    until(book.traces, frozen)
    frozen.freeze_group()
    # For real: the frozen one is to see for itself that it has no lease any more.
    lease = Worker.objects.using(database).filter(name="frozen", lease__lt=DatabaseNow())
    until(lease.exists)
    drained(mortals, database, "--name=heir")
    assert (stored(slow).status, stored(slow).claim_seq) == ("succeeded", 2)
    recorded = stored(slow).completed_at

    book.let_go()
    frozen.thaw_group()
    until(lambda: workers_named(database, "frozen").count() == 2, frozen)
    assert [worker.state for worker in workers_named(database, "frozen")] == ["rescued", "live"]
    until(lambda: "its claim 1 does not hold any more" in frozen.output, frozen)
    assert (stored(slow).completed_at, stored(slow).claim_seq) == (recorded, 2)
    heirs = workers_named(database, "heir").values_list("pk", flat=True)
    for attempt in (slow, unbegun):
        assert stored(attempt).status == "succeeded"
        assert stored(attempt).claimed_by in heirs
    assert [failure.kind for failure in failures(slow)] == ["lease"]
    # What it had claimed and not begun, it didn't begin.
    assert {trace.pid for trace in book.of(unbegun)}.isdisjoint(frozen.group())

    again = enqueued(database, hazards.leave_traces, book.path)
    book.promise([again])
    until(lambda: stored(again).status == "succeeded", frozen)
    assert stored(again).claimed_by == workers_named(database, "frozen").last().pk
    stopped(frozen)
    book.balance()


class Over:
    """A lease that holds no more."""

    holds_until = 0.0


def test_nothing_is_begun_when_the_lease_may_have_run_out(database, book):
    enqueued(database, hazards.leave_traces, book.path)
    store = store_for(database)
    [claim] = store.claim(registered(store).pk, ["default"], 1)
    execution = Runner(store, Over(), mock.Mock()).perform(claim)
    assert execution is not None
    assert isinstance(execution.outcome, Released)
    assert book.traces() == []


def test_a_drain_that_was_rescued_goes_on_as_a_new_incarnation(database, monkeypatch, settings):
    # It looks whether it was taken for dead when it renews its lease.
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"LEASE": LEASE}

    def be_taken_for_dead() -> None:
        if current_attempt().claim_seq == 1:
            let_leases_run_out(database)
            store_for(database).rescue()

    monkeypatch.setattr(effects, "action", be_taken_for_dead)
    slow = enqueued(database, effects.act)
    following = [enqueued(database, effects.act_by_mail) for _ in range(3)]
    drain(database, batch_size=1)
    assert states(database) == ["succeeded"] * 4
    assert [stored(attempt).claim_seq for attempt in (slow, *following)] == [2] * 4
    registrar = Worker.objects.using(database).order_by("id").values_list("state", flat=True)
    assert list(registrar) == ["rescued"] * 4 + ["stopped"]


def test_nothing_that_waits_for_the_event_loop_is_begun_either(database, book):
    enqueued(database, hazards.leave_traces_asynchronously, book.path)
    store = store_for(database)
    [claim] = store.claim(registered(store).pk, ["default"], 1)
    ended: SimpleQueue[Execution] = SimpleQueue()
    event_loop = EventLoop(1, ended.put, Over())
    try:
        assert event_loop.perform(prepare(claim))
        assert isinstance(ended.get(timeout=PATIENCE).outcome, Released)
    finally:
        event_loop.close()
    assert book.traces() == []
