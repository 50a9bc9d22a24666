"""Guarantees 2 and 5: a worker that was frozen beyond its lease records nothing any more."""

from __future__ import annotations

import signal

from async_attempts import current_attempt
from async_attempts.models import Worker
from async_attempts.store import store_for
from tests.faults.leases import let_leases_run_out
from tests.shop import effects
from tests.worker.attempts import drain, enqueued, failures, states, stored
from tests.worker.processes import lines, until


def test_what_a_frozen_worker_held_is_performed_by_another(database, mortals, tmp_path, ledger):
    began, go = tmp_path / "began", tmp_path / "go"
    slow = enqueued(database, effects.wait_for, str(began), str(go))
    unbegun = enqueued(database, effects.write, str(ledger))
    frozen = mortals.start("--poll-interval=0.05", "--name=frozen", f"--database={database}")
    until(lambda: lines(began), frozen)
    frozen.signal(signal.SIGSTOP)
    let_leases_run_out(database)
    heir = mortals.start("--drain", "--name=heir", f"--database={database}")
    assert heir.exit_code() == 0, heir.output
    assert (stored(slow).status, stored(slow).claim_seq) == ("succeeded", 2)
    recorded = stored(slow).completed_at

    frozen.signal(signal.SIGCONT)
    go.touch()
    incarnations = Worker.objects.using(database).filter(name="frozen").order_by("id")
    until(lambda: incarnations.count() == 2, frozen)
    first, second = incarnations
    assert (first.state, second.state) == ("rescued", "live")
    assert (first.pid, second.pid) == (frozen.pid, frozen.pid)
    stale = f"{slow.pk}: its claim 1 does not hold any more; succeeded is refused"
    assert stale in frozen.output

    assert (stored(slow).completed_at, stored(slow).claim_seq) == (recorded, 2)
    heirs = Worker.objects.using(database).get(name="heir")
    for attempt in (slow, unbegun):
        assert (stored(attempt).status, stored(attempt).claimed_by) == ("succeeded", heirs.pk)
        assert [failure.kind for failure in failures(attempt)] == ["lease"]
    assert [line[1] for line in lines(began)] == ["1", "2"]
    assert [line[1] for line in lines(ledger)] == ["2"]

    again = enqueued(database, effects.write, str(ledger))
    until(lambda: stored(again).status == "succeeded", frozen)
    assert stored(again).claimed_by == second.pk
    frozen.signal(signal.SIGTERM)
    assert frozen.exit_code() == 0, frozen.output
    assert Worker.objects.using(database).get(pk=second.pk).state == "stopped"


def test_a_drain_that_was_rescued_goes_on_as_a_new_incarnation(database, monkeypatch):
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
    incarnations = Worker.objects.using(database).order_by("id").values_list("state", flat=True)
    assert list(incarnations) == ["rescued"] * 4 + ["stopped"]
