"""Guarantee 9: on SIGTERM nothing begun is cut before the grace period, nothing unbegun is kept,
and no attempt is counted for it.
"""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from async_attempts.models import Worker
from async_attempts.worker.shared.stop_event import StopEvent
from tests.faults.fleet import drained, started
from tests.shop import hazards
from tests.worker.helpers.attempts import enqueued, failures, states, stored
from tests.worker.helpers.processes import lines, until

THREADS = 2
HANDED_BACK = 4


@pytest.fixture
def busy(database, mortals, book):
    """Starts a worker whose threads have begun one attempt each, with three behind them."""
    mortals.settings["LEASE"] = 60

    def start(*arguments, prepare=None):
        begun = [
            enqueued(database, hazards.wait_at_first, book.path, book.go) for _ in range(THREADS)
        ]
        unbegun = [enqueued(database, hazards.leave_traces, book.path) for _ in range(3)]
        book.promise([*begun, *unbegun])
        one_child = ("--processes=1", f"--threads={THREADS}")
        worker = started(mortals, database, *one_child, *arguments, prepare=prepare)
        until(lambda: len(book.traces("begun")) == THREADS, worker)
        return worker, begun, unbegun

    return start


def tell_of_stopping(path):
    """Let each process below this one write its pid there when it has heard that it is to stop."""
    heard = StopEvent.set

    def set_and_tell(stopping):
        heard(stopping)
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")

    mock.patch.object(StopEvent, "set", set_and_tell).start()


def told_alone(worker, number):
    worker.signal(number)


def told_as_a_group(worker, number):
    """As a terminal does, and systemd."""
    worker.signal_group(number)


@pytest.mark.parametrize("told", [told_alone, told_as_a_group])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_begun_end_and_the_unbegun_are_given_back(mortals, busy, book, number, told):
    heard = Path(f"{book.path} of stopping")
    worker, begun, unbegun = busy(prepare=partial(tell_of_stopping, heard))
    database = book.database
    told(worker, number)
    until(lambda: [str(book.traces()[0].pid)] in lines(heard), worker)
    until(lambda: states(database) == ["running"] * THREADS + ["pending"] * 3, worker)
    assert len(book.traces()) == THREADS
    book.let_go()
    assert worker.exit_code() == 0, worker.output
    for attempt in map(stored, begun):
        assert (attempt.status, attempt.claim_seq, attempt.num_attempts) == ("succeeded", 1, 1)
    for attempt in map(stored, unbegun):
        assert (attempt.state, attempt.num_attempts, attempt.num_crashes) == ("pending", 0, 0)
        assert (attempt.claimed_by, attempt.started_at) == (None, None)
    assert not worker.group()
    assert set(Worker.objects.using(database).values_list("state", flat=True)) == {"stopped"}
    drained(mortals, database)
    book.balance()


def test_what_outlasts_the_grace_period_is_handed_back_uncounted(database, mortals, busy, book):
    worker, begun, unbegun = busy("--shutdown-timeout=1")
    pids = {trace.pid for trace in book.traces()}
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == HANDED_BACK, worker.output
    assert not any(map(is_alive, pids))
    for attempt in map(stored, [*begun, *unbegun]):
        assert (attempt.state, attempt.claimed_by) == ("pending", None)
        assert (attempt.num_attempts, attempt.num_crashes) == (0, 0)
        assert failures(attempt) == []
    book.let_go()
    drained(mortals, database)
    book.balance()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
