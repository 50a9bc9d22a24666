"""The ledger finds each kind of wrong, and none where all is well."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from async_attempts.models import get_attempt_model
from tests.faults.ledger import repeated
from tests.shop import hazards
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import drain, enqueued, put


@pytest.fixture
def done(database, book):
    """One leased and one atomic attempt, performed as promised."""
    leased = enqueued(database, hazards.leave_traces, book.path, options={"keep_result": True})
    atomic = enqueued(database, hazards.leave_row, database)
    book.promise([leased])
    book.promise([atomic], atomic=True)
    drain(database)
    return leased, atomic


def wrongs(book):
    """How many of each kind that has any."""
    verdict = book.verdict()
    return {kind: len(found) for kind, found in vars(verdict).items() if found}


def test_all_is_well(book, done):
    assert wrongs(book) == {}
    book.balance()
    assert [trace.word for trace in book.traces()] == ["begun", "ended"]


def test_what_has_no_row_is_lost(book, done):
    book.promises.leased[uuid4()] = "succeeded"
    assert wrongs(book) == {"lost": 1}


def test_a_success_without_a_trace_is_lost(book, done):
    Path(book.path).write_text("")
    assert wrongs(book) == {"lost": 1, "stale": 1}


def test_what_was_undone_and_performed_is_unexpected(book, done):
    leased, _ = done
    book.promises.undone.add(leased.pk)
    del book.promises.leased[leased.pk]
    assert wrongs(book) == {"unexpected": 1}


def test_another_end_than_promised_is_unexpected(book, done):
    leased, _ = done
    book.promises.leased[leased.pk] = "failed"
    assert wrongs(book) == {"unexpected": 1}


def test_a_claim_that_was_begun_twice_is_unexpected(book, done):
    path = Path(book.path)
    path.write_text(path.read_text() * 2)
    assert wrongs(book) == {"unexpected": 1}


def test_an_outcome_of_another_claim_is_stale(book, done):
    leased, _ = done
    put(leased, claim_seq=2)
    trace = book.traces()[-1]._replace(claim_seq=2)
    with Path(book.path).open("a") as file:
        file.write(" ".join(map(str, trace)) + "\n")
    assert wrongs(book) == {"stale": 1}


def test_the_effects_of_an_atomic_attempt_are_there_once(book, done):
    _, atomic = done
    Ledger.objects.using(book.database).create(attempt_id=atomic.pk, claim_seq=1)
    assert wrongs(book) == {"duplicates": 1}


def test_what_is_not_final_is_stuck(book, done):
    book.promise([enqueued(book.database, hazards.leave_traces, book.path)])
    assert wrongs(book) == {"stuck": 1}
    assert get_attempt_model().objects.using(book.database).pending().count() == 1


def test_an_execution_is_repeated_for_a_reason(book, done):
    first = book.traces()[0]
    again = first._replace(claim_seq=2, pid=first.pid + 1, seconds=first.seconds + 9)
    assert repeated([first], {}) == []
    assert len(repeated([again, first], {})) == 1
    assert len(repeated([again, first], {again.pid: float("inf")})) == 1
    assert len(repeated([again, first], {first.pid: first.seconds - 1})) == 1
    assert repeated([again, first], {first.pid: first.seconds + 1}) == []
    assert repeated([again, first], {}, spared={first.attempt_id}) == []
