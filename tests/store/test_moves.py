"""The store's statements against the lifecycle's table: each verb from each state."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from async_attempts.lifecycle import (
    MOVES,
    Expired,
    Failed,
    Released,
    Retried,
    Snoozed,
    Succeeded,
    sources_of,
)

from .rows import (
    ERROR,
    IN_STATE,
    claim_of,
    enqueued,
    every_column,
    failures,
    let_lease_run_out,
    one_in_each_state,
    row,
    states,
)

LATER = timedelta(hours=1)


def finish(outcome):
    def verb(store, worker, attempts):
        results = [(claim_of(store, attempt), outcome) for attempt in attempts.values()]
        store.outcomes.finish(worker.pk, results)

    return verb


def claim(store, worker, attempts):
    store.claims.claim(worker.pk, ["default"], 100)


def claim_one(store, worker, attempts):
    for attempt in attempts.values():
        store.claims.claim_one(worker.pk, attempt.pk)


def promote(store, worker, attempts):
    store.claims.promote()


def promote_one(store, worker, attempts):
    for attempt in attempts.values():
        store.claims.promote_one(attempt.pk)


def rescue(store, worker, attempts):
    let_lease_run_out(store, worker)
    store.workers.rescue()


def people(verb, *arguments):
    def change(store, worker, attempts):
        getattr(store.changes, verb)(store.database.attempts.all(), *arguments)

    return change


def one_by_one(verb):
    def change(store, worker, attempts):
        for attempt in attempts.values():
            getattr(store.changes, verb)(store.database.attempts.filter(pk=attempt.pk))

    return change


WAYS = {
    "promote": ("promote", promote, "pending"),
    "promote one": ("promote", promote_one, "pending"),
    "claim": ("claim", claim, "running"),
    "claim one": ("claim", claim_one, "running"),
    "succeed": ("succeed", finish(Succeeded()), "succeeded"),
    "succeed with a result": ("succeed", finish(Succeeded(b"result")), "succeeded"),
    "retry by backoff": ("put off", finish(Retried(60, ERROR)), "scheduled"),
    "snooze": ("put off", finish(Snoozed(60)), "scheduled"),
    "release": ("release", finish(Released()), "pending"),
    "release for later": ("release", finish(Released(60)), "scheduled"),
    "rescue": ("rescue", rescue, "pending"),
    "expire": ("expire", people("expire"), "expired"),
    "expire one": ("expire", one_by_one("expire"), "expired"),
    "fail": ("fail", people("fail"), "failed"),
    "fail one": ("fail", one_by_one("fail"), "failed"),
    "retry": ("retry", people("retry"), "pending"),
    "retry one": ("retry", one_by_one("retry"), "pending"),
    "retry for later": ("retry", people("retry", datetime.now(UTC) + LATER), "scheduled"),
}
"""Each way in which the store is asked for a move: its verb in the table, and where it leads."""

BY_ITSELF = {
    "fails": (finish(Failed("no use", ERROR)), "failed"),
    "expires": (finish(Expired("too old")), "expired"),
}
"""Verbs that people have from other states too; an execution has them only while it runs."""


def test_every_move_of_the_table_has_its_statement():
    # These are written with the row, by prerequisites, and by limits; a reschedule also changes
    # what stays in its state.
    elsewhere = {"enqueue", "unblock", "block", "reschedule"}
    assert {verb for verb, _, _ in WAYS.values()} | elsewhere == {move.verb for move in MOVES}


def test_every_state_of_the_table_is_tried():
    named = {state for move in MOVES for state in move.sources | move.targets}
    assert named - {None} == set(IN_STATE)


@pytest.mark.parametrize("way", WAYS)
def test_a_verb_moves_what_the_table_says_and_nothing_else(store, worker, way):
    verb, ask, target = WAYS[way]
    [move] = [move for move in MOVES if move.verb == verb]
    assert target in move.targets
    attempts = one_in_each_state(store, worker)
    before = {attempt["id"]: attempt for attempt in every_column(store)}
    ask(store, worker, attempts)
    expected = {state: target if state in move.sources else state for state in attempts}
    assert states(store, attempts) == expected
    untouched = [attempts[state].pk for state in attempts if state not in sources_of(verb)]
    after = {attempt["id"]: attempt for attempt in every_column(store)}
    assert [after[pk] for pk in untouched] == [before[pk] for pk in untouched]


@pytest.mark.parametrize("how", BY_ITSELF)
def test_an_execution_ends_only_what_is_running(store, worker, how):
    ask, target = BY_ITSELF[how]
    attempts = one_in_each_state(store, worker)
    ask(store, worker, attempts)
    expected = {state: target if state == "running" else state for state in attempts}
    assert states(store, attempts) == expected
    assert len(failures(store)) == (1 if how == "fails" else 0)


@pytest.mark.parametrize("delay", [None, LATER], ids=["now", "later"])
def test_what_is_enqueued_is_in_a_state_of_the_table(store, delay):
    [move] = [move for move in MOVES if move.verb == "enqueue"]
    [attempt] = enqueued(store, scheduled_at=delay)
    assert row(store, attempt).state in move.targets
