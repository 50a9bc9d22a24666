"""How far executions are: written in one statement, under the claim's fence."""

from __future__ import annotations

import pytest

from async_attempts.store import ProgressReport

from .rows import every_column, row
from .sessions import rolled_back
from .test_fences import LOSSES

ROW_LOCKS = pytest.mark.only("postgresql", "mariadb", reason="SQLite locks no rows")


def shown(store, claim):
    return row(store, claim).progress, row(store, claim).progress_note


def lock_row(store, claim):
    """As a person's verb does in a transaction, or an atomic target."""
    rows = store.database.attempts.filter(pk=claim.id)
    rows.select_for_update().get()
    # On SQLite the transaction itself has locked all of it.


@pytest.fixture(params=["write", "try_to_write"])
def write(request, store):
    """Each way to write it; returns what was written."""

    def write(said):
        written, _ = getattr(store.progress, request.param)(said)
        return written

    return write


def test_each_row_gets_its_own(store, claimed, write):
    claims = claimed(3)
    said = [ProgressReport(claim, n * 10, f"note {n}") for n, claim in enumerate(claims)]
    assert write(said) == said
    assert [shown(store, claim) for claim in claims] == [
        (0, "note 0"),
        (10, "note 1"),
        (20, "note 2"),
    ]
    assert {row(store, claim).state for claim in claims} == {"running"}


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_what_a_lost_claim_says_changes_nothing(store, worker, claimed, write, lose):
    [claim] = claimed()
    lose(store, worker, claim)
    before = every_column(store)
    assert write([ProgressReport(claim, 10, "late")]) == []
    assert every_column(store) == before


def test_it_changes_nothing_else(store, claimed, write):
    one, other = claimed(2)
    before = every_column(store)
    write([ProgressReport(one, 10, "ten")])
    after = every_column(store)
    changed = [
        {name: new for name, new in row_after.items() if row_before[name] != new}
        for row_before, row_after in zip(before, after, strict=True)
    ]
    assert sorted(changed, key=len) == [{}, {"progress": 10, "progress_note": "ten"}]
    assert shown(store, other) == (None, "")


def test_what_somebody_locks_is_left_and_told(store, claimed, sessions):
    one, other = claimed(2)
    somebody = sessions()
    somebody.begin()
    somebody.do(lock_row, store, one)
    said = [ProgressReport(claim, 10, "") for claim in (one, other)]
    written, locked = store.progress.try_to_write(said)
    somebody.rollback()
    is_one_writer = store.database.connection.vendor == "sqlite"
    assert (written, locked) == (([], said) if is_one_writer else ([said[1]], [said[0]]))
    assert store.progress.try_to_write(said) == (said, [])


@ROW_LOCKS
def test_the_last_word_is_left_too_as_the_finish_will_be(store, claimed, sessions):
    [claim] = claimed()
    somebody = sessions()
    somebody.begin()
    somebody.do(lock_row, store, claim)
    said = [ProgressReport(claim, 10, "")]
    assert store.progress.write(said) == ([], said)
    somebody.rollback()
    assert store.progress.write(said) == (said, [])


@pytest.mark.only("sqlite", reason="the others lock rows")
def test_the_patience_of_a_connection_is_as_before(store, claimed):
    [claim] = claimed()
    with store.database.connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 1234")
        store.progress.try_to_write([ProgressReport(claim, 10, "")])
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == (1234,)


def test_a_callers_transaction_is_refused(store, claimed, write):
    [claim] = claimed()
    with rolled_back(store), pytest.raises(RuntimeError):
        write([ProgressReport(claim, 10, "")])


def test_a_retry_by_a_person_begins_with_nothing(store, claimed, write):
    [claim] = claimed()
    write([ProgressReport(claim, 90, "nearly")])
    store.changes.fail(store.database.attempts.filter(pk=claim.id))
    assert shown(store, claim) == (90, "nearly")
    store.changes.retry(store.database.attempts.filter(pk=claim.id))
    assert shown(store, claim) == (None, "")
