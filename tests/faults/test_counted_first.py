"""Guarantee 3: `num_attempts` is committed before user code starts."""

from __future__ import annotations

import pytest

from tests.faults.fleet import ALONE, drained, kill_group, started
from tests.faults.leases import let_leases_run_out
from tests.shop import hazards
from tests.worker.helpers.attempts import enqueued, failures, stored
from tests.worker.helpers.processes import until


@pytest.mark.parametrize(
    "target", [hazards.tell_what_others_see, hazards.tell_what_others_see_atomically]
)
def test_others_see_it_while_the_target_runs(database, mortals, book, target):
    attempts = [enqueued(database, target, database, book.path) for _ in range(5)]
    drained(mortals, database)
    seen = {trace.attempt_id: trace.word for trace in book.traces()}
    assert seen == {attempt.pk: "1" for attempt in attempts}


def test_it_stays_when_the_first_thing_a_target_does_is_to_die(database, mortals, book):
    attempt = enqueued(database, hazards.die, book.path, "group", 1)
    worker = started(mortals, database, *ALONE)
    until(book.traces)
    kill_group(worker)
    assert (stored(attempt).num_attempts, stored(attempt).claim_seq) == (1, 1)
    let_leases_run_out(database)
    drained(mortals, database)
    assert [trace.num_attempts for trace in book.traces()] == [1, 2, 2]
    assert [failure.number for failure in failures(attempt)] == [1]
