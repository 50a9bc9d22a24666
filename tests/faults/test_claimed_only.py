"""Guarantee 4 for what kills its process before it has begun: by the size of its row, say."""

from __future__ import annotations

import os
import signal
from unittest import mock
from unittest.mock import patch
from uuid import uuid4

import pytest

from async_attempts.lifecycle import FailureKind
from async_attempts.store import Verdict
from async_attempts.worker.execution import prepare as prepare_module
from async_attempts.worker.execution import runner
from async_attempts.worker.loop.in_flight import InFlight
from async_attempts.worker.processes.reaper import ChildExit
from async_attempts.worker.shared.shared_memory import Begun
from tests.faults.conftest import MAX_CRASHES
from tests.faults.fleet import ALONE
from tests.shop import hazards
from tests.worker.helpers.attempts import enqueued, failures, stored

POISON = "poison"


def die_of_claiming():
    """Let a child be killed as soon as it has claimed the poison."""
    take = InFlight.take

    def killed(self, claims):
        if any(claim.idempotence_token == POISON for claim in claims):
            os.kill(os.getpid(), signal.SIGKILL)
        take(self, claims)

    patch.object(InFlight, "take", killed).start()


def die_of_preparing():
    """Let a child be killed as soon as it prepares the call of the poison."""
    prepare = prepare_module.prepare

    def killed(claim):
        if claim.idempotence_token == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return prepare(claim)

    patch.object(runner, "prepare", killed).start()


@pytest.mark.parametrize("how", [die_of_claiming, die_of_preparing])
def test_what_ends_its_child_before_it_begins_fails_and_its_neighbours_lose_nothing(
    database, mortals, book, how
):
    mortals.settings["LEASE"] = 60
    neighbours = [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
    options = {"idempotence_token": POISON}
    poison = enqueued(database, hazards.leave_traces, book.path, options=options)
    neighbours += [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
    worker = mortals.start("--drain", f"--database={database}", *ALONE, prepare=how)
    assert worker.exit_code() == 0, worker.output

    poison = stored(poison)
    assert (poison.status, poison.num_crashes) == ("failed", MAX_CRASHES), worker.output
    assert poison.reason == f"its worker was lost {MAX_CRASHES} times while it was in flight"
    assert {failure.kind for failure in failures(poison)} == {"crash"}
    assert book.of(poison) == []
    for neighbour in map(stored, neighbours):
        assert (neighbour.status, neighbour.num_crashes) == ("succeeded", 0)
    for behind in map(stored, neighbours[3:]):
        assert (behind.num_attempts, failures(behind)) == (1, [])


def test_a_death_without_anything_begun_makes_suspects_of_what_was_claimed():
    row = object()
    unexplained = ChildExit(uuid4(), "SIGKILL", is_unexplained=True)
    verdict = unexplained.verdict({}, row)
    assert verdict == Verdict(FailureKind.CRASH, "its process was lost: SIGKILL", has_begun=False)


def test_what_the_supervisor_ended_or_what_had_begun_makes_none_of_them():
    row = mock.Mock(id=uuid4(), claim_seq=1)
    begun = (Begun(uuid4(), 1, 0.0),)
    assert ChildExit(uuid4(), "killed", is_blameless=True).verdict({}, row) is None
    assert ChildExit(uuid4(), "SIGKILL", begun, is_unexplained=True).verdict({}, row) is None
