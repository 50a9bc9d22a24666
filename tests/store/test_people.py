"""People's verbs: expire, fail, retry, request_cancel, on sets of attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from async_attempts import Attempt
from async_attempts.exceptions import InvalidOption, InvalidTransition
from async_attempts.lifecycle import Failed, Released, Retried, Succeeded
from async_attempts.models import DatabaseNow
from async_attempts.store import changes

from .rows import (
    ERROR,
    enqueued,
    every_column,
    failures,
    multiply,
    now,
    one_in_each_state,
    put,
    row,
)
from .sessions import rolled_back

HOUR = timedelta(hours=1)
LIVE = {"scheduled", "pending", "waiting", "running"}
FINAL = {"succeeded", "failed", "expired"}


def everything(store):
    return Attempt.objects.using(store.database.alias)


@pytest.mark.parametrize("verb", ["expire", "fail"])
def test_an_end_by_a_person_has_a_reason_and_a_time(store, worker, verb):
    one_in_each_state(store, worker)
    before = now(store)
    changes = getattr(everything(store), verb)("not any more")
    assert changes == (4, dict.fromkeys(FINAL, 1))
    ended = list(everything(store).filter(reason="not any more"))
    assert {attempt.status for attempt in ended} == {verb.rstrip("e") + "ed"}
    assert len(ended) == 4
    assert all(before <= attempt.completed_at <= now(store) for attempt in ended)


def test_a_retry_tells_what_it_left_and_why(store, worker):
    one_in_each_state(store, worker)
    left = dict.fromkeys([*LIVE, "succeeded"], 1)
    assert everything(store).retry() == (2, left)


def test_a_cancel_expires_what_is_not_running_and_asks_what_is(store, worker):
    attempts = one_in_each_state(store, worker)
    assert everything(store).request_cancel() == (4, dict.fromkeys(FINAL, 1))
    for state in LIVE - {"running"}:
        written = row(store, attempts[state])
        assert (written.state, written.reason) == ("expired", "cancelled")
        assert written.completed_at is not None
    running = row(store, attempts["running"])
    assert (running.state, running.cancel_requested) == ("running", True)
    assert (running.completed_at, running.reason) == (None, "")


def test_a_cancel_keeps_its_reason_until_what_runs_has_ended(store, worker, claimed):
    released, retried, succeeded = claimed(3)
    assert everything(store).request_cancel("no stock", interrupt=True).changed == 3
    results = [(released, Released()), (retried, Retried(9, ERROR)), (succeeded, Succeeded())]
    assert store.outcomes.finish(worker.pk, results) == []
    ends = [(row(store, claim).state, row(store, claim).reason) for claim, _ in results]
    assert ends == [("expired", "no stock"), ("expired", "no stock"), ("succeeded", "")]


def test_only_what_is_to_be_interrupted_is_told_with_the_reason(store, worker, claimed):
    asked, meant, wordless, left = claimed(4)
    ours = store.database.attempts
    ours.filter(pk=asked.id).request_cancel("no stock")
    ours.filter(pk=meant.id).request_cancel("no stock", interrupt=True)
    ours.filter(pk=wordless.id).request_cancel(interrupt=True)
    assert store.outcomes.interrupted([asked, meant, wordless, left]) == {
        meant.fence: "no stock",
        wordless.fence: "cancelled while it ran",
    }
    # Somebody who asks later takes nothing back.
    ours.filter(pk=meant.id).request_cancel("again")
    assert store.outcomes.interrupted([meant]) == {meant.fence: "again"}


def test_what_is_not_running_expires_with_the_reason_for_which_it_is_cancelled(store):
    [attempt] = enqueued(store)
    attempt.request_cancel("no stock", interrupt=True)
    assert (attempt.state, attempt.reason) == ("expired", "no stock")
    attempt.retry()
    written = row(store, attempt)
    assert (written.cancel_requested, written.cancel_reason, written.interrupt) == (
        False,
        None,
        None,
    )


def test_a_retry_starts_the_counts_again_and_keeps_the_history(store, worker, claimed):
    [claim] = claimed(expires_at=HOUR)
    store.outcomes.finish(worker.pk, [(claim, Failed("no use", ERROR))])
    put(store, claim, num_attempts=5, num_crashes=2, cancel_requested=True, progress=50)
    before = now(store)
    assert everything(store).retry() == (1, {})
    written = row(store, claim)
    assert (written.state, written.reason) == ("pending", "")
    assert (written.num_attempts, written.num_crashes, written.claim_seq) == (0, 0, 1)
    assert (written.claimed_by, written.started_at, written.completed_at) == (None, None, None)
    assert (written.cancel_requested, written.progress) == (False, None)
    assert before <= written.scheduled_at <= now(store)
    assert written.expires_at > now(store)
    assert [failure.attempt_id for failure in failures(store)] == [claim.id]
    assert [again.claim_seq for again in store.claims.claim(worker.pk, ["default"], 1)] == [2]


def test_a_retry_takes_away_an_expiry_that_has_passed(store, worker):
    [attempt] = enqueued(store)
    put(store, attempt, status="expired", completed_at=DatabaseNow(), expires_at=DatabaseNow())
    everything(store).retry()
    assert row(store, attempt).expires_at is None
    assert len(store.claims.claim(worker.pk, ["default"], 1)) == 1


def test_a_retry_for_later_is_scheduled(store):
    [attempt] = enqueued(store)
    everything(store).fail()
    at = datetime.now(UTC) + HOUR
    everything(store).retry(at)
    assert (row(store, attempt).state, row(store, attempt).scheduled_at) == ("scheduled", at)


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides_whether_a_retry_is_for_later(store):
    [attempt] = enqueued(store)
    everything(store).fail()
    everything(store).retry(datetime.now(UTC) + HOUR / 2)
    assert row(store, attempt).state == "pending"


@pytest.mark.parametrize("verb", ["expire", "fail"])
@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("a\0b", "reason: must hold no NUL"),
        ("\ud800", "reason: must hold no NUL and no lone surrogate"),
        (None, "reason: must be text, not NoneType"),
        (7, "reason: must be text, not int"),
    ],
    ids=["nul", "surrogate", "none", "number"],
)
def test_a_reason_that_can_not_be_stored_is_refused(store, verb, reason, message):
    [attempt] = enqueued(store)
    for ways in (everything(store), attempt):
        with transaction.atomic(store.database.alias):
            with pytest.raises(InvalidOption, match=message):
                getattr(ways, verb)(reason)
            assert row(store, attempt).state == "pending"


NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 it is to be refused


@pytest.mark.parametrize("at", [NAIVE, "tomorrow"], ids=["naive", "text"])
def test_a_retry_needs_a_moment(store, at):
    [attempt] = enqueued(store)
    everything(store).fail()
    with pytest.raises(InvalidOption, match="at: "):
        everything(store).retry(at)
    assert row(store, attempt).state == "failed"


@pytest.mark.parametrize("at", [None, datetime(2100, 1, 1, tzinfo=UTC)], ids=["now", "at"])
@pytest.mark.usefixtures("worker")
def test_a_retry_may_be_spread_over_a_time(store, at):
    enqueued(store, 40)
    everything(store).fail()
    first = at or now(store)
    assert everything(store).retry(at, spread=timedelta(minutes=10)) == (40, {})
    last = (at or now(store)) + timedelta(minutes=10)
    due = sorted(everything(store).values_list("scheduled_at", flat=True))
    # To the millisecond on SQLite.
    assert first - timedelta(milliseconds=1) <= due[0] < due[-1] <= last
    assert len(set(due)) > 30
    assert due[-1] - due[0] > timedelta(minutes=3)
    assert {attempt.state for attempt in everything(store)} == {"scheduled"}


def test_what_was_spread_is_claimed_when_its_time_has_come(store, worker):
    enqueued(store, 3)
    everything(store).fail()
    everything(store).retry(datetime(2020, 1, 1, tzinfo=UTC), spread=60.5)
    assert store.claims.promote() == 3
    assert len(store.claims.claim(worker.pk, ["default"], 3)) == 3


@pytest.mark.parametrize(
    "spread", [-1, timedelta(seconds=-1), "a while", True, 10**11, float("nan")]
)
def test_a_spread_is_a_time(store, spread):
    [attempt] = enqueued(store)
    everything(store).fail()
    with pytest.raises(InvalidOption, match="spread: "):
        everything(store).retry(spread=spread)
    assert row(store, attempt).state == "failed"


def test_no_spread_is_now(store):
    enqueued(store)
    everything(store).fail()
    everything(store).retry(spread=0)
    assert everything(store).get().state == "pending"


def test_a_slice_is_changed_batch_by_batch(store, monkeypatch):
    monkeypatch.setattr(changes, "BATCH", 3)
    attempts = enqueued(store, 9)
    put(store, attempts[1], status="succeeded", completed_at=DatabaseNow())
    assert everything(store).order_by("pk")[:8].expire() == (7, {"succeeded": 1})
    assert everything(store).filter(status="pending").get().pk == attempts[8].pk


VERBS = {
    "expire": lambda rows: rows.expire(),
    "fail": lambda rows: rows.fail(),
    "request_cancel": lambda rows: rows.request_cancel(),
    "retry": lambda rows: rows.retry(),
    "reschedule": lambda rows: rows.reschedule(HOUR),
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_enqueued_meanwhile_is_not_meant(store, monkeypatch, verb):
    monkeypatch.setattr(changes, "BATCH", 2)
    before = enqueued(store, 5)
    if verb == "retry":
        everything(store).fail()
    change_batch = store.changes._change_batch
    later: list[Attempt] = []

    def beside_a_busy_caller(*args):
        changed = change_batch(*args)
        if len(later) < 50:
            later.extend(enqueued(store))
            if verb == "retry":
                put(store, later[-1], status="failed", completed_at=DatabaseNow())
        return changed

    monkeypatch.setattr(store.changes, "_change_batch", beside_a_busy_caller)
    assert VERBS[verb](everything(store)) == (5, {})
    left = "failed" if verb == "retry" else "pending"
    assert {row(store, attempt).state for attempt in later} == {left}
    assert {row(store, attempt).state for attempt in before}.isdisjoint({left})


@pytest.mark.usefixtures("an_hour_ahead")
def test_the_databases_clock_decides_what_was_enqueued_before(store):
    enqueued(store, 3)
    assert everything(store).expire() == (3, {})


def awaited_by_two(store):
    """Attempts that each are what two others wait for."""
    for attempt in enqueued(store, 3):
        enqueued(store, 2, depends_on=[attempt])
    return everything(store).filter(dependents__condition="success")


def test_over_a_join_each_row_counts_once(store):
    rows = awaited_by_two(store)
    assert rows.count() == 6
    done = rows.order_by("pk").first()
    put(store, done, status="succeeded", completed_at=DatabaseNow())
    assert rows.expire() == (2, {"succeeded": 1})


def test_a_slice_over_a_join_counts_each_row_once(store, monkeypatch):
    monkeypatch.setattr(changes, "BATCH", 1)
    assert awaited_by_two(store).order_by("pk")[:6].expire() == (3, {})


def test_only_what_was_asked_for_is_changed(store):
    wanted, other = enqueued(store, 2)
    assert everything(store).filter(pk=wanted.pk).expire() == (1, {})
    assert everything(store).none().expire() == (0, {})
    assert row(store, other).state == "pending"


def test_a_slice_can_be_changed(store):
    first, second, third = enqueued(store, 3)
    assert everything(store).order_by("pk")[1:].expire() == (2, {})
    states = [row(store, attempt).state for attempt in (first, second, third)]
    assert states == ["pending", "expired", "expired"]


def test_a_condition_that_the_verb_itself_changes_holds_for_all(store, worker):
    attempts = one_in_each_state(store, worker)
    assert everything(store).pending().expire() == (1, {})
    assert everything(store).running().fail() == (1, {})
    assert row(store, attempts["pending"]).state == "expired"
    assert row(store, attempts["running"]).state == "failed"
    assert row(store, attempts["scheduled"]).state == "scheduled"


def test_many_rows_are_changed_in_batches_and_counted_together(store):
    [attempt] = enqueued(store)
    multiply(store, attempt, 4500)
    multiply(store, attempt, 10, status="'succeeded'", completed_at="created_at")
    assert everything(store).fail("all") == (4501, {"succeeded": 10})
    assert everything(store).filter(status="failed", reason="all").count() == 4501
    assert everything(store).retry() == (4501, {"succeeded": 10})
    assert everything(store).expire() == (4501, {"succeeded": 10})


@pytest.mark.parametrize("verb", ["expire", "fail", "request_cancel"])
def test_one_row_says_why_it_cannot_be_changed(store, worker, verb):
    for state, attempt in one_in_each_state(store, worker).items():
        before = every_column(store)
        if state in LIVE:
            getattr(attempt, verb)()
        else:
            with pytest.raises(InvalidTransition, match=f"{verb} is not possible: it is {state}"):
                getattr(attempt, verb)()
            assert every_column(store) == before


def test_a_verb_is_part_of_the_callers_transaction(store):
    [attempt] = enqueued(store)
    with rolled_back(store):
        attempt.expire()
        assert attempt.state == "expired"
    assert row(store, attempt).state == "pending"


def test_what_a_person_ended_is_lost_to_its_worker(store, worker, claimed):
    [claim] = claimed()
    everything(store).expire("not any more")
    assert store.outcomes.finish(worker.pk, [(claim, Succeeded())]) == [claim]
    assert row(store, claim).state == "expired"


@pytest.mark.only("postgresql", "mariadb", reason="SQLite has one writer and no row locks")
@pytest.mark.parametrize("verb", ["expire", "fail", "request_cancel"])
def test_what_runs_atomically_is_left_and_reported(store, worker, claimed, sessions, verb):
    held, free = claimed(2)
    other = sessions()
    other.begin()
    assert other.do(store.outcomes.hold, worker.pk, held)
    assert getattr(everything(store), verb)() == (1, {"running atomically": 1})
    with pytest.raises(InvalidTransition, match="running atomically"):
        getattr(Attempt.objects.using(store.database.alias).get(pk=held.id), verb)()
    other.rollback()
    written = row(store, held)
    assert (written.state, written.cancel_requested) == ("running", False)
    changed = row(store, free)
    assert (changed.state != "running") or changed.cancel_requested


@pytest.mark.only("postgresql", "mariadb", reason="on SQLite the verb holds the only writer")
def test_what_begins_to_run_meanwhile_is_not_pending_any_more(store, worker, sessions):
    [attempt] = enqueued(store)
    other = sessions()
    pending = everything(store).pending()
    future = other.start_and_stop_after(("SELECT", "LIMIT 2000"), pending.expire)
    [claim] = store.claims.claim(worker.pk, ["default"], 1)
    other.go_on()
    assert future.result() == (0, {"pending": 1})
    assert row(store, attempt).state == "running"
    assert store.outcomes.finish(worker.pk, [(claim, Succeeded())]) == []
