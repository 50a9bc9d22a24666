"""Atomic mode: what a target writes and the record of its success are one transaction."""

from __future__ import annotations

import logging
import threading

import pytest
from django.db import connections, transaction

from async_attempts import Attempt, Expire, Fail, Snooze
from async_attempts.exceptions import InvalidTransition
from tests.shop import effects
from tests.shop.models import Ledger
from tests.worker.helpers.attempts import (
    drain,
    enqueued,
    failures,
    make_due,
    performed,
    raising,
    states,
    stored,
)


def written(database):
    """The claims that wrote into the ledger."""
    return list(Ledger.objects.using(database).order_by("id").values_list("claim_seq", flat=True))


def write_and_raise(database, exception):
    def action():
        effects.write_ledger(database)
        raise exception

    return action


def test_a_target_that_succeeds_leaves_its_row_once(database):
    attempt = performed(database, effects.write_row, database)
    drain(database)
    assert stored(attempt).status == "succeeded"
    assert written(database) == [1]


def test_a_target_that_raises_leaves_none_and_is_tried_again(database, acting):
    acting(write_and_raise(database, ValueError("boom")))
    attempt = performed(database, effects.act_atomically)
    assert written(database) == []
    assert (attempt.state, attempt.num_attempts) == ("scheduled", 1)
    assert [failure.message for failure in failures(attempt)] == ["boom"]
    acting(lambda: effects.write_ledger(database))
    make_due(attempt)
    drain(database)
    assert stored(attempt).status == "succeeded"
    assert written(database) == [2]


@pytest.mark.parametrize(
    ("raised", "state"), [(Snooze(60), "scheduled"), (Fail("no"), "failed"), (Expire(), "expired")]
)
def test_what_a_target_says_by_raising_rolls_its_rows_back(database, acting, raised, state):
    acting(write_and_raise(database, raised))
    assert performed(database, effects.act_atomically).state == state
    assert written(database) == []


def test_nobody_sees_a_row_before_the_attempt_has_succeeded(database, acting):
    def look_from_outside() -> None:
        if connections[database].vendor != "sqlite":
            effects.write_ledger(database)
        looking = threading.Thread(target=look)
        looking.start()
        looking.join()

    def look() -> None:
        seen.extend([written(database), states(database)])
        connections[database].close()

    seen: list[object] = []
    acting(look_from_outside)
    performed(database, effects.act_atomically)
    assert seen == [[], ["running"]]


@pytest.mark.only("postgresql", "mariadb", reason="on SQLite it holds the only writer")
def test_a_person_is_told_that_it_is_running_atomically(database, acting):
    def expire_from_outside() -> None:
        expiring = threading.Thread(target=expire)
        expiring.start()
        expiring.join()

    def expire() -> None:
        changes.append(Attempt.objects.using(database).expire("by hand"))
        with pytest.raises(InvalidTransition, match="running atomically") as refusal:
            Attempt.objects.using(database).get().fail("by hand")
        refusals.append(refusal)
        connections[database].close()

    changes: list[tuple[int, dict[str, int]]] = []
    refusals: list[object] = []
    acting(expire_from_outside)
    attempt = performed(database, effects.act_atomically)
    assert changes == [(0, {"running atomically": 1})]
    assert len(refusals) == 1
    assert attempt.status == "succeeded"


def test_what_was_expired_in_flight_is_not_performed(database, acting, caplog):
    def expire_the_next() -> None:
        stored(following).expire("by hand")

    acting(expire_the_next)
    enqueued(database, effects.act)
    following = enqueued(database, effects.write_row, database)
    with caplog.at_level(logging.WARNING):
        drain(database)
    assert written(database) == []
    following = stored(following)
    assert (following.status, following.reason) == ("expired", "by hand")
    assert f"{following.pk}: its claim 1 does not hold any more" in caplog.text
    assert not failures(following)


def test_a_hook_after_the_commit_may_fail(database, acting, caplog):
    def hook_and_write() -> None:
        transaction.on_commit(raising(OSError("secret")), using=database)
        effects.write_ledger(database)

    acting(hook_and_write)
    attempt = enqueued(database, effects.act_atomically)
    neighbour = enqueued(database, effects.record)
    drain(database)
    assert stored(attempt).status == "succeeded"
    assert stored(neighbour).status == "succeeded"
    assert written(database) == [1]
    assert not failures(attempt)
    assert f"{attempt.pk}: on_commit raised OSError" in caplog.text
    assert "secret" not in caplog.text


def test_a_hook_runs_after_the_success_was_committed(database, acting):
    seen: list[str] = []

    def add_hook() -> None:
        transaction.on_commit(lambda: seen.extend(states(database)), using=database)

    acting(add_hook)
    performed(database, effects.act_atomically)
    assert seen == ["succeeded"]


def test_no_hook_runs_when_the_target_raises(database, acting):
    def hook_and_raise() -> None:
        transaction.on_commit(lambda: effects.seen.append(("hook",)), using=database)
        raise ValueError

    acting(hook_and_raise)
    performed(database, effects.act_atomically)
    assert effects.seen == []


def test_what_it_enqueues_is_enqueued_with_its_success(database, acting):
    def enqueue_and_raise() -> None:
        enqueued(database, effects.record, "rolled back")
        raise ValueError

    acting(enqueue_and_raise)
    performed(database, effects.act_atomically)
    assert states(database) == ["scheduled"]
    acting(lambda: enqueued(database, effects.record, "enqueued"))
    performed(database, effects.act_atomically)
    assert effects.seen == [("function", ("enqueued",), {})]
