"""A row that another transaction locks keeps no worker waiting: it is passed over."""

from __future__ import annotations

import pytest
from django.db import OperationalError, transaction

from async_attempts.lifecycle import (
    NOT_KEPT,
    Expired,
    Failed,
    Released,
    Retried,
    Snoozed,
    Succeeded,
)
from async_attempts.store import TOO_LATE
from async_attempts.store.transactions import waited_too_long

from .rows import ERROR, failures, put, row
from .test_progress import ROW_LOCKS, lock_row

OUTCOMES = {
    "success": Succeeded(),
    "success with a result": Succeeded(b"sealed"),
    "retry": Retried(60, ERROR),
    "failure": Failed("no use", ERROR),
    "snooze": Snoozed(60),
    "release": Released(),
    "expiry": Expired("too old"),
}


@pytest.fixture
def somebody(sessions):
    """Another session, in an open transaction."""
    session = sessions()
    session.begin()
    return session


@pytest.fixture(params=OUTCOMES)
def outcome(request):
    return OUTCOMES[request.param]


@ROW_LOCKS
def test_a_finish_records_the_others_and_says_what_is_locked(
    store, worker, claimed, somebody, outcome
):
    claims = claimed(3)
    somebody.do(lock_row, store, claims[1])
    unrecorded = store.outcomes.finish(worker.pk, [(claim, outcome) for claim in claims])
    assert (unrecorded, unrecorded.locked) == ([], [claims[1]])
    assert [row(store, claim).state == "running" for claim in claims] == [False, True, False]
    somebody.rollback()
    unrecorded = store.outcomes.finish(worker.pk, [(claims[1], outcome)])
    assert (unrecorded, unrecorded.locked) == ([], [])
    assert row(store, claims[1]).state == row(store, claims[0]).state
    assert len(failures(store)) == 3 * isinstance(outcome, Retried | Failed)


@ROW_LOCKS
def test_what_the_other_transaction_ends_is_lost_once_it_commits(
    store, worker, claimed, somebody, outcome
):
    [claim] = claimed()
    somebody.do(lambda: store.database.attempts.filter(pk=claim.id).expire("by hand"))
    unrecorded = store.outcomes.finish(worker.pk, [(claim, outcome)])
    assert (unrecorded, unrecorded.locked) == ([], [claim])
    somebody.commit()
    unrecorded = store.outcomes.finish(worker.pk, [(claim, outcome)])
    assert (unrecorded, unrecorded.locked) == ([claim], [])
    assert (row(store, claim).status, row(store, claim).reason) == ("expired", "by hand")


@ROW_LOCKS
def test_what_is_recorded_locked_and_lost_is_told_apart(store, worker, claimed, somebody):
    recorded, locked, lost, plain = claimed(4)
    assert store.outcomes.finish(worker.pk, [(recorded, Succeeded())]) == []
    somebody.do(lock_row, store, locked)
    put(store, lost, claim_seq=2)
    results = [(claim, Succeeded()) for claim in (recorded, locked, lost, plain)]
    unrecorded = store.outcomes.finish(worker.pk, results)
    assert (unrecorded, unrecorded.locked) == ([lost], [locked])
    assert row(store, plain).status == "succeeded"


@ROW_LOCKS
def test_an_atomic_attempt_is_not_begun_while_somebody_locks_it(store, worker, claimed, somebody):
    [claim] = claimed()
    somebody.do(lock_row, store, claim)
    with transaction.atomic(store.database.alias):
        assert not store.outcomes.hold(worker.pk, claim)
        assert store.outcomes.still_holds(worker.pk, claim)
    somebody.rollback()
    put(store, claim, claim_seq=2)
    assert not store.outcomes.still_holds(worker.pk, claim)


@ROW_LOCKS
def test_a_claim_hands_over_what_it_could_not_give_back(
    store, worker, claimed, somebody, monkeypatch
):
    [claim] = claimed()
    late = claim._replace(seconds_left=0.0)
    found = iter([[late], []])
    monkeypatch.setattr(store.claims, "_claim_of", lambda *_, **__: next(found))
    somebody.do(lock_row, store, claim)
    claims = store.claims.claim(worker.pk, ["default"], 1)
    assert (claims, claims.unrecorded) == ([], [(late, TOO_LATE)])


@pytest.mark.only("postgresql", "mariadb", reason="a lock of SQLite is BUSY, as any collision is")
def test_a_wait_that_the_session_ends_is_no_outage(store, worker, somebody):
    somebody.do(lambda: list(store.database.workers.select_for_update()))
    with pytest.raises(OperationalError) as raised, transaction.atomic(store.database.alias):
        store.database.workers.filter(pk=worker.pk).update(name="other")
    assert waited_too_long(raised.value)


@pytest.mark.only("postgresql", "mariadb", reason="SQLite ends no session")
def test_a_lost_session_is_an_outage(store, sessions):
    other = sessions()
    kill = {
        "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
        "mysql": "KILL CONNECTION_ID()",
    }[store.database.connection.vendor]
    with pytest.raises(OperationalError) as raised:
        other.execute(kill)
    assert not waited_too_long(raised.value)


@pytest.mark.only("sqlite", reason="the others lock rows")
def test_a_writer_that_does_not_end_is_waited_for_and_no_outage(store, worker, claimed, sessions):
    [claim] = claimed()
    somebody = sessions()
    somebody.begin()
    with pytest.raises(OperationalError) as raised:
        store.outcomes.finish(worker.pk, [(claim, Succeeded())])
    assert waited_too_long(raised.value)
    somebody.rollback()
    assert store.outcomes.finish(worker.pk, [(claim, Succeeded())]) == []


@pytest.mark.only("mariadb", reason="its server can be set to undo the whole transaction")
def test_where_a_timeout_undoes_a_transaction_no_statement_fails_instead_of_waiting(
    store, worker, claimed, somebody
):
    """Else what the transaction had recorded before would be lost, and nobody would know."""
    recorded, locked = claimed(2)
    somebody.do(lock_row, store, locked)
    statements = []

    def as_if_set(execute, sql, params, many, context):
        statements.append(sql)
        sql = sql.replace("@@innodb_rollback_on_timeout", "1")
        return execute(sql, params, many, context)

    with store.database.connection.execute_wrapper(as_if_set):
        # A new one, which asks the server.
        unrecorded = type(store)(store.database.alias).outcomes.finish(
            worker.pk, [(recorded, Succeeded()), (locked, Succeeded(NOT_KEPT))]
        )
    assert (unrecorded, unrecorded.locked) == ([], [locked])
    assert [row(store, claim).state for claim in (recorded, locked)] == ["succeeded", "running"]
    assert not any("innodb_lock_wait_timeout" in sql for sql in statements)
