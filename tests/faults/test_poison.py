"""Guarantee 4: an attempt that kills its process does so MAX_CRASHES times, and harms no other."""

from __future__ import annotations

import signal

from tests.faults.conftest import MAX_CRASHES
from tests.faults.leases import let_leases_run_out
from tests.shop import effects
from tests.worker.attempts import enqueued, failures, stored
from tests.worker.processes import lines


def test_a_poison_pill_fails_and_its_neighbours_succeed(database, mortals, ledger, tmp_path):
    before = [enqueued(database, effects.write, str(ledger)) for _ in range(3)]
    poison = enqueued(database, effects.write_and_die, str(tmp_path / "poison"), 1000)
    after = [enqueued(database, effects.write, str(ledger)) for _ in range(3)]
    for _ in range(MAX_CRASHES):
        worker = mortals.start("--drain", f"--database={database}")
        assert worker.exit_code() == -signal.SIGKILL, worker.output
        let_leases_run_out(database)
    worker = mortals.start("--drain", f"--database={database}")
    assert worker.exit_code() == 0, worker.output

    poison = stored(poison)
    assert (poison.status, poison.num_crashes) == ("failed", MAX_CRASHES)
    assert poison.reason == f"its worker was lost {MAX_CRASHES} times while it was in hand"
    assert [line[1] for line in lines(tmp_path / "poison")] == ["1", "2", "3"]
    assert [failure.kind for failure in failures(poison)] == ["lease"] * MAX_CRASHES
    for neighbour in map(stored, [*before, *after]):
        assert (neighbour.status, neighbour.num_crashes) == ("succeeded", 0)
    ids = [line[0] for line in lines(ledger)]
    assert {str(neighbour.pk) for neighbour in [*before, *after]} == set(ids)
    # Who was recorded before the poison was begun isn't performed again.
    assert len(ids) == 6
