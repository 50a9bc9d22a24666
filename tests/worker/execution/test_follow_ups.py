"""Attempts that follow those which ended badly: written with the end, whoever records it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import transaction

from async_attempts import Attempt, Expire, Fail, InvalidOption, call, enqueue_many
from async_attempts.encryption import new_key
from async_attempts.lifecycle import Succeeded
from async_attempts.models import DatabaseNow, Dependency
from async_attempts.models.follow_ups import ENDED
from async_attempts.retention import Keep, Retention
from async_attempts.store import store_for
from async_attempts.store.expressions import seconds_from_now
from async_attempts.targets import Policy, decorator, target_of
from async_attempts.targets import target as targets
from async_attempts.targets.decorator import MARK
from async_attempts.worker.execution.outcomes import outcome_of_target
from tests.shop import effects, follow_ups
from tests.shop.models import Order
from tests.store.rows import registered
from tests.worker.helpers.attempts import drain, enqueued, failures, put, raising, stored
from tests.worker.helpers.ends import (
    alias_of,
    be_overdue,
    cancel,
    come_too_late,
    expire,
    fail,
    fail_all,
    lose_its_cancelled_worker,
    lose_its_worker,
)
from tests.worker.helpers.executing import drain_in_threads

SECRET = "4111 1111 1111 1111"


def following(attempt: Attempt) -> Any:
    """The one attempt that follows this one."""
    edge = Dependency.objects.using(alias_of(attempt)).get(prerequisite_id=attempt.pk)
    return Attempt.objects.using(alias_of(attempt)).get(pk=edge.attempt_id)


def number_of_attempts(database: str) -> int:
    return Attempt.objects.using(database).count()


@pytest.mark.parametrize(
    ("end", "status", "reason"),
    [
        (fail, "failed", "no stock"),
        (fail_all, "failed", "no stock"),
        (expire, "expired", "no stock"),
        (cancel, "expired", "cancelled"),
        (come_too_late, "expired", "not begun before its expires_at"),
        (be_overdue, "expired", "not begun before its expires_at"),
        (lose_its_worker, "failed", "its worker was lost 3 times while it was in flight"),
        (lose_its_cancelled_worker, "expired", "cancelled while it ran"),
    ],
)
def test_whoever_ends_it_the_next_one_is_there_and_gets_the_same_arguments(
    database, end, status, reason
):
    attempt = enqueued(database, follow_ups.deliver, 1, to=SECRET)
    end(attempt)
    next_one = following(attempt)
    handler = {"failed": "mark_failed", "expired": "mark_expired"}[status]
    assert (next_one.method_name, next_one.args) == (handler, b"")
    drain(database)
    [(ending, args, kwargs)] = follow_ups.ended
    assert (args, kwargs) == ((1,), {"to": SECRET})
    assert (ending.attempt_id, ending.status, ending.reason) == (attempt.pk, status, reason)
    assert (ending.target, ending.method_name) == ("tests.shop.follow_ups", "deliver")
    assert stored(next_one).status == "succeeded"
    assert number_of_attempts(database) == 2


@pytest.mark.parametrize("perform", [drain, drain_in_threads])
@pytest.mark.parametrize("target", [follow_ups.deliver, follow_ups.deliver_atomically])
def test_a_target_that_fails_for_good_is_followed_by_what_knows_why(
    database, acting, perform, target
):
    acting(raising(ValueError("no stock")))
    attempt = enqueued(database, target, 1)
    perform(database)
    [(ending, args, kwargs)] = follow_ups.ended
    assert stored(attempt).status == "failed"
    assert (args, kwargs) == ((1,), {})
    assert (ending.status, ending.error_class, ending.message) == (
        "failed",
        "ValueError",
        "no stock",
    )
    assert ending.reason == stored(attempt).reason != ""


@pytest.mark.parametrize("raised", [Fail("no stock"), Expire("no stock")])
def test_a_target_that_ends_itself_is_followed(database, acting, raised):
    acting(raising(raised))
    enqueued(database, follow_ups.deliver)
    drain(database)
    [(ending, _, _)] = follow_ups.ended
    assert (ending.status, ending.reason) == (
        "failed" if type(raised) is Fail else "expired",
        "no stock",
    )


def test_no_row_is_written_while_all_is_well(database, acting):
    attempts = [enqueued(database, follow_ups.deliver, n) for n in range(3)]
    drain(database)
    assert {stored(attempt).status for attempt in attempts} == {"succeeded"}
    assert number_of_attempts(database) == 3
    assert not Dependency.objects.using(database).exists()


def test_nothing_follows_an_execution_that_is_retried(database, acting):
    calls = []

    def fail_once() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError

    acting(fail_once)
    enqueued(database, follow_ups.deliver)
    drain(database)
    assert number_of_attempts(database) == 1


def test_it_is_enqueued_by_its_own_options_and_has_what_tells_where_it_comes_from(database):
    order = Order.objects.using(database).create(number=1)
    options = {"metadata": {"trace": "1-2"}, "subject": order}
    attempt = enqueued(database, follow_ups.deliver, options=options)
    attempt.fail("no stock")
    next_one = following(attempt)
    assert (next_one.queue, next_one.priority, next_one.state) == ("emails", 7, "pending")
    assert next_one.metadata["trace"] == "1-2"
    assert next_one.subject == order
    assert next_one.method_args == attempt.method_args


def test_a_person_that_rolls_back_has_written_nothing(database):
    attempt = enqueued(database, follow_ups.deliver)
    with transaction.atomic(database):
        attempt.fail("no stock")
        assert number_of_attempts(database) == 2
        transaction.set_rollback(True, database)
    assert number_of_attempts(database) == 1


def test_what_waits_in_vain_is_followed(database, acting):
    acting(raising(Fail("no stock")))
    first = call(effects.act)
    last = first.then(call(follow_ups.deliver, 2)).using(database=database).enqueue()
    drain(database)
    [(ending, args, _)] = follow_ups.ended
    # Nothing was handed to it.
    assert (ending.attempt_id, ending.status, args) == (last.pk, "expired", (None, 2))


def test_many_are_followed_each_once(database):
    calls = [call(follow_ups.deliver, n).using(database=database) for n in range(250)]
    enqueue_many(calls)
    changes = Attempt.objects.using(database).all().expire("all of it")
    assert changes.changed == 250
    drain(database)
    assert sorted(args for _, args, _ in follow_ups.ended) == [(n,) for n in range(250)]
    assert number_of_attempts(database) == 500


def test_an_outcome_that_comes_too_late_writes_nothing(database):
    store = store_for(database)
    attempt = enqueued(database, follow_ups.deliver)
    claim = store.claims.claim_one(registered(store).pk, attempt.pk)
    assert claim is not None
    attempt.fail("by a person")
    assert store.outcomes.finish(claim.worker_id, [(claim, Succeeded())]) == [claim]
    assert number_of_attempts(database) == 2


def test_the_end_is_told_as_it_was_though_the_attempt_was_retried(database, acting):
    attempt = enqueued(database, follow_ups.deliver, 1)
    attempt.fail("no stock")
    attempt.retry()
    drain(database)
    assert stored(attempt).status == "succeeded"
    [(ending, args, _)] = follow_ups.ended
    assert (ending.status, ending.reason, args) == ("failed", "no stock", (1,))


def test_each_is_told_the_error_of_its_own_end(database, acting):
    attempt = enqueued(database, follow_ups.deliver, 1, options={"max_attempts": 1})
    for message in ("first", "second"):
        acting(raising(ValueError(message)))
        store = store_for(database)
        claim = store.claims.claim_one(registered(store).pk, attempt.pk)
        assert claim is not None
        outcome = outcome_of_target(claim, Policy(), ValueError(message))
        assert store.outcomes.finish(claim.worker_id, [(claim, outcome)]) == []
        if message == "first":
            attempt.retry()
    drain(database)
    assert sorted(ending.message for ending, _, _ in follow_ups.ended) == ["first", "second"]


def test_an_older_release_leaves_it_to_a_newer_one(database, monkeypatch):
    attempt = enqueued(database, follow_ups.deliver, 1)
    attempt.fail("no stock")
    older = replace(target_of(follow_ups.deliver).policy, on_failed=None)
    with monkeypatch.context() as patch:
        patch.setattr(follow_ups.deliver, MARK, older)
        patch.setattr(targets, "_targets", {})
        drain(database)
    waiting = following(attempt)
    assert (waiting.state, failures(waiting)[0].kind) == ("scheduled", "unknown target")
    put(waiting, scheduled_at=DatabaseNow())
    targets._targets.clear()
    drain(database)
    assert [args for _, args, _ in follow_ups.ended] == [(1,)]


def test_a_handler_that_was_renamed_is_found_by_its_older_name(database, monkeypatch):
    attempt = enqueued(database, follow_ups.deliver, 1)
    attempt.fail("no stock")
    waiting = following(attempt)
    put(waiting, method_name="mark_as_failed")
    name = "tests.shop.follow_ups.mark_failed"
    aliases = {"tests.shop.follow_ups.mark_as_failed": name}
    monkeypatch.setattr(decorator, "_aliases", {**decorator._aliases, **aliases})
    drain(database)
    assert [args for _, args, _ in follow_ups.ended] == [(1,)]


def test_each_end_is_followed(database):
    attempt = enqueued(database, follow_ups.deliver, 1)
    attempt.fail("first")
    attempt.retry()
    attempt.expire("second")
    drain(database)
    ends = [(ending.status, ending.reason) for ending, _, _ in follow_ups.ended]
    assert sorted(ends) == [("expired", "second"), ("failed", "first")]


def test_one_that_follows_may_be_followed_itself(database):
    enqueued(database, follow_ups.deliver_twice_followed, 1)
    drain(database)
    [(ending, args, _)] = follow_ups.ended
    assert ending.message == "not marked"
    [inner, number] = args
    assert (inner.message, number) == ("not delivered", 1)


def test_a_method_of_an_instance_is_followed_on_the_same_instance(database):
    order = Order.objects.using(database).create(number=1)
    attempt = enqueued(database, order.send)
    attempt.fail("no stock")
    drain(database)
    order.refresh_from_db()
    assert order.status == "unsent: no stock"


def test_what_it_follows_is_kept_until_it_has_succeeded(database):
    attempt = enqueued(database, follow_ups.deliver, 1)
    attempt.fail("no stock")
    put(attempt, completed_at=seconds_from_now(-100))
    store, keep = store_for(database), Retention({"failed": Keep(age=50.0)}, {})
    assert store.retention.prune(keep)[0] == 0
    drain(database)
    assert [args for _, args, _ in follow_ups.ended] == [(1,)]
    assert store.retention.prune(keep)[0] == 1


def forge(database: str, target: Any, attempt: Attempt, **columns: Any) -> Attempt:
    """Make a row that has no arguments of its own follow `attempt`, past all guards."""
    forged = enqueued(database, target, 0)
    end = {"attempt": str(attempt.pk), "status": "failed", "reason": "", "error_class": ""}
    metadata = {ENDED: {**end, "execution": 0, **columns}}
    put(forged, args=b"", metadata=metadata)
    Dependency.objects.using(database).create(
        attempt_id=forged.pk, prerequisite_id=attempt.pk, condition="failure", state="met"
    )
    return forged


@pytest.mark.parametrize("columns", [{}, {"status": "expired"}, {"status": "gone"}])
def test_a_target_that_is_not_declared_to_follow_is_not_called(database, columns):
    attempt = enqueued(database, follow_ups.deliver, 1)
    attempt.expire("no stock")
    forged = forge(database, effects.record, attempt, **columns)
    drain(database)
    assert (stored(forged).state, failures(forged)[0].kind) == ("scheduled", "unknown target")
    assert effects.seen == []


ANOTHER = {"attempt": str(uuid4()), "status": "failed", "reason": "", "error_class": ""}


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(None, id="none"),
        pytest.param("no", id="text"),
        pytest.param({}, id="nothing"),
        pytest.param({"attempt": 1}, id="number"),
        pytest.param({"attempt": "x", "status": "failed"}, id="half"),
        pytest.param({**ANOTHER, "execution": "1"}, id="types"),
        pytest.param({**ANOTHER, "execution": 1}, id="another"),
    ],
)
def test_one_that_tells_nothing_of_what_it_follows_is_not_called(database, end):
    attempt = enqueued(database, follow_ups.deliver, 1)
    forged = forge(database, follow_ups.mark_failed, attempt)
    put(forged, metadata={ENDED: end})
    drain(database)
    assert failures(forged)[0].kind == "integrity"
    assert follow_ups.ended == []


def test_a_changed_note_makes_nothing_else_run(database):
    attempt = enqueued(database, follow_ups.deliver, 1)
    assert attempt.on_ended is not None
    put(attempt, on_ended=attempt.on_ended.replace("mark_failed", "mark_expired"))
    attempt.fail("no stock")
    drain(database)
    assert failures(following(attempt))[0].kind == "unknown target"
    assert follow_ups.ended == []


@pytest.mark.parametrize("note", ["", "{", "[]", '{"failed": 1}', '{"failed": {"target": "os"}}'])
def test_a_note_that_is_no_note_keeps_nobody_from_ending_it(database, note):
    attempt = enqueued(database, follow_ups.deliver, 1)
    put(attempt, on_ended=note)
    attempt.fail("no stock")
    assert stored(attempt).status == "failed"
    assert number_of_attempts(database) == 1


@pytest.mark.only("postgresql", "mariadb", reason="SQLite takes a number of any size")
def test_an_end_is_recorded_though_the_database_refuses_what_is_to_follow(database, caplog):
    attempts = [enqueued(database, follow_ups.deliver, n) for n in range(3)]
    broken = attempts[1]
    assert broken.on_ended is not None
    put(broken, on_ended=broken.on_ended.replace('"priority": 7', '"priority": 99999999999'))
    changes = Attempt.objects.using(database).all().fail("no stock")
    assert changes.changed == 3
    drain(database)
    assert sorted(args for _, args, _ in follow_ups.ended) == [(0,), (2,)]
    assert f"{broken.pk}: what is to follow could not be enqueued" in caplog.text


def test_a_long_reason_is_cut_so_that_it_can_be_handed_on(database):
    attempt = enqueued(database, follow_ups.deliver, options={"metadata": {"trace": "x" * 12_000}})
    attempt.fail("no stock " * 1000)
    drain(database)
    [(ending, _, _)] = follow_ups.ended
    assert ending.reason == ("no stock " * 1000)[:1000]


def test_one_whose_key_is_missing_holds_up_no_other(database, settings):
    attempt = enqueued(database, follow_ups.deliver, 1)
    attempt.fail("no stock")
    ours = settings.ASYNC_ATTEMPTS["KEYS"]
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "KEYS": [new_key()]}
    other = enqueued(database, follow_ups.deliver, 2)
    other.fail("no stock")
    # One after the other: what is put off must not have the other one passed over.
    drain(database, batch_size=1)
    assert [args for _, args, _ in follow_ups.ended] == [(2,)]
    waiting = following(attempt)
    assert (waiting.state, waiting.num_attempts) == ("scheduled", 0)
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "KEYS": ours}
    put(waiting, scheduled_at=DatabaseNow())
    drain(database)
    assert [args for _, args, _ in follow_ups.ended] == [(2,), (1,)]


def test_rotating_keys_passes_over_one_without_arguments(database, settings):
    attempt = enqueued(database, follow_ups.deliver, 1)
    attempt.fail("no stock")
    keys = [new_key(), *settings.ASYNC_ATTEMPTS["KEYS"]]
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "KEYS": keys}
    call_command("attempts", "rotate-keys", database=database, stdout=StringIO())
    drain(database)
    assert [args for _, args, _ in follow_ups.ended] == [(1,)]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        (follow_ups.deliver_or_mark, r"on_failed of .*deliver_or_mark: .*never_marked"),
        (follow_ups.first_of_a_circle, r"for ever: .*first_of_a_circle → .*→ .*first_of_a_circle"),
        (follow_ups.deliver_by_keyword, r"mark_nothing takes no positional argument"),
        (follow_ups.deliver_debounced, r"mark_debounced has debounce"),
        (follow_ups.deliver_without_an_order, r"a method of model instances"),
    ],
    ids=["missing", "circle", "by keyword", "debounced", "on an instance"],
)
def test_what_cannot_follow_is_refused_in_the_caller(database, target, problem):
    arguments: dict[str, Any] = {"number": 1} if target is follow_ups.deliver_by_keyword else {}
    with pytest.raises(InvalidOption, match=problem):
        enqueued(database, target, **arguments)
    assert number_of_attempts(database) == 0


def test_it_waits_as_long_as_its_own_options_say(database):
    attempt = enqueued(database, follow_ups.deliver_and_wait)
    attempt.fail("no stock")
    next_one = following(attempt)
    assert next_one.state == "scheduled"
    assert next_one.scheduled_at - next_one.created_at == pytest.approx(
        timedelta(hours=1), abs=timedelta(seconds=30)
    )
    assert next_one.expires_at - next_one.scheduled_at == pytest.approx(
        timedelta(hours=1), abs=timedelta(seconds=30)
    )
