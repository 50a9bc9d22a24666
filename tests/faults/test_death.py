"""Guarantees 1, 3, 5 and 8: what a dead worker held is performed again after its lease."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

import pytest

from async_attempts.models import Worker
from tests.faults.conftest import LEASE
from tests.faults.dying import after_the_commit, before_the_commit, before_the_finish
from tests.faults.leases import let_leases_run_out
from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.attempts import enqueued, failures, states, stored
from tests.worker.processes import Workers, lines, until


def dies(mortals: Workers, moment: Callable[[str], None], database: str) -> None:
    """A worker is killed at this moment of its first finish, and missed."""
    worker = mortals.start(f"--database={database}", prepare=partial(moment, database))
    assert worker.exit_code() == -signal.SIGKILL, worker.output
    let_leases_run_out(database)


def drained(mortals: Workers, database: str) -> None:
    """Another worker rescues the dead one's attempts, and performs what is left."""
    worker = mortals.start("--drain", f"--database={database}")
    assert worker.exit_code() == 0, worker.output


def test_between_perform_and_finish_a_leased_attempt_is_performed_again(database, mortals, ledger):
    attempt = enqueued(database, effects.write, str(ledger))
    dies(mortals, before_the_finish, database)
    assert (stored(attempt).state, stored(attempt).num_attempts) == ("running", 1)
    drained(mortals, database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.num_attempts, attempt.claim_seq) == ("succeeded", 2, 2)
    assert [line[:3] for line in lines(ledger)] == [
        [str(attempt.pk), "1", "1"],
        [str(attempt.pk), "2", "2"],
    ]
    (failure,) = failures(attempt)
    assert (failure.kind, failure.number) == ("lease", 1)
    assert failure.error_class == "WorkerLost"
    assert attempt.num_crashes == 0
    assert list(Worker.objects.using(database).order_by("id").values_list("state", flat=True)) == [
        "rescued",
        "stopped",
    ]


@pytest.mark.parametrize(
    ("moment", "claim_that_wrote"),
    [(before_the_finish, 1), (before_the_commit, 2), (after_the_commit, 1)],
)
def test_an_atomic_attempt_writes_exactly_once(database, mortals, moment, claim_that_wrote):
    attempt = enqueued(database, effects.write_row, database)
    dies(mortals, moment, database)
    written = Ledger.objects.using(database)
    assert list(written.values_list("claim_seq", flat=True)) == [1] * (claim_that_wrote == 1)
    drained(mortals, database)
    assert stored(attempt).status == "succeeded"
    assert list(written.values_list("claim_seq", flat=True)) == [claim_that_wrote]


def test_an_atomic_target_that_ends_its_process_leaves_nothing(database, mortals, ledger):
    attempt = enqueued(database, effects.write_row_and_die_once, database, str(ledger))
    worker = mortals.start(f"--database={database}")
    assert worker.exit_code() == 1, worker.output
    assert not Ledger.objects.using(database).exists()
    let_leases_run_out(database)
    drained(mortals, database)
    assert stored(attempt).status == "succeeded"
    assert [line[1] for line in lines(ledger)] == ["1", "2"]
    assert list(Ledger.objects.using(database).values_list("claim_seq", flat=True)) == [2]


def test_without_a_supervisor_another_worker_takes_over_within_the_lease_and_ten_seconds(
    database, mortals, ledger
):
    heir = mortals.start(f"--database={database}", "--queues=emails,default")
    until(Worker.objects.using(database).exists, heir)
    attempt = enqueued(
        database, effects.write_and_die, str(ledger), 1, options={"queue": "fulfilment"}
    )
    victim = mortals.start(f"--database={database}", "--queues=fulfilment")
    assert victim.exit_code() == -signal.SIGKILL
    until(lambda: stored(attempt).claimed_by is None, heir)
    (failure,) = failures(attempt)
    holder = Worker.objects.using(database).get(pk=failure.worker)
    assert (failure.failed_at - holder.lease).total_seconds() < LEASE + 10
    assert states(database) == ["pending"]
