"""What no bound describes: an attempt fails only if its own values make its claim fail."""

from __future__ import annotations

from functools import partial

import pytest
from django.db import Error, connections

from async_attempts import Attempt
from async_attempts.models import Queue
from async_attempts.store.claim_trials import TRIED_AT_ONCE
from async_attempts.store.expressions import seconds_from_now
from async_attempts.store.transactions import is_about_a_value

from .refusals import CLAIMS, POISON, PROMOTIONS, refused
from .rows import enqueued, multiply, put, row


@pytest.fixture
def refusing(store):
    """A table in which the attempts of the token "poison" can't be claimed, nor promoted."""
    with refused(store, POISON):
        yield store


def poisoned(store, number, **columns):
    """So many attempts, of which the first is the poison, and waits."""
    attempts = enqueued(store, number)
    if columns:
        for attempt in attempts:
            put(store, attempt, **columns)
    table = store.database.connection.ops.quote_name(Attempt._meta.db_table)
    with connections[store.database.alias].cursor() as cursor:
        # The trigger speaks of updates only, and a token is made by nothing else.
        key = store.database.model._meta.pk.get_db_prep_value(
            attempts[0].pk, store.database.connection
        )
        cursor.execute(
            f"UPDATE {table} SET status = 'waiting', idempotence_token = 'poison' WHERE id = %s",
            [key],
        )
    return attempts


def make_pending(store, attempt, status="pending", **columns):
    """By deleting it and writing it anew, as no update can."""
    stored = row(store, attempt)
    store.database.attempts.filter(pk=attempt.pk)._raw_delete(store.database.alias)
    for name, value in ({"status": status} | columns).items():
        setattr(stored, name, value)
    stored.save_base(raw=True, using=store.database.alias, force_insert=True)


def statuses(store, attempts):
    return [row(store, attempt).status for attempt in attempts]


def test_what_cannot_be_claimed_for_another_reason_is_found(refusing, worker):
    bad, *good = poisoned(refusing, 3)
    make_pending(refusing, bad)
    with pytest.raises(Error) as raised:
        refusing.claims.claim(worker.pk, ["default"], 5)
    assert is_about_a_value(raised.value)
    [found] = refusing.malformed_rows.set_aside(worker.pk, ["default"])
    assert found.has_failed
    failed = row(refusing, bad)
    assert failed.status == "failed"
    assert failed.reason.startswith("it can't be claimed: ")
    claims = refusing.claims.claim(worker.pk, ["default"], 5)
    assert [(claim.id, claim.claim_seq) for claim in claims] == [(one.pk, 1) for one in good]


def test_a_single_one_is_found_by_itself(refusing, worker):
    [bad] = poisoned(refusing, 1)
    make_pending(refusing, bad)
    [found] = refusing.malformed_rows.set_aside(worker.pk, ["default"])
    assert (row(refusing, bad).status, found.has_failed) == ("failed", True)


def test_a_projects_own_rule_hides_nothing(store, worker):
    """Plain values that the rule refuses aren't taken for a refusal of all attempts."""
    with refused(store, f"({POISON}) OR NEW.priority < 5"):
        bad, *good = poisoned(store, 3, priority=9)
        make_pending(store, bad)
        [found] = store.malformed_rows.set_aside(worker.pk, ["default"])
        assert (row(store, bad).status, found.has_failed) == ("failed", True)
        assert statuses(store, good) == ["pending"] * 2


def test_what_cannot_be_promoted_is_found_too(refusing, worker):
    bad, *good = poisoned(refusing, 3, status="scheduled")
    make_pending(refusing, bad, "scheduled")
    with pytest.raises(Error):
        refusing.claims.promote()
    [found] = refusing.malformed_rows.set_aside(worker.pk, ["default"])
    assert (row(refusing, bad).status, found.has_failed) == ("failed", True)
    assert refusing.claims.promote() == len(good)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        pytest.param(CLAIMS, "pending", id="claims"),
        pytest.param(PROMOTIONS, "scheduled", id="promotions"),
        pytest.param(CLAIMS, "scheduled", id="claims-alone"),
    ],
)
def test_nobody_fails_where_the_database_refuses_all(store, worker, number, condition, status):
    attempts = enqueued(store, number)
    for attempt in attempts:
        put(store, attempt, status=status)
    with refused(store, condition):
        assert store.malformed_rows.set_aside(worker.pk, ["default"]) == []
    assert statuses(store, attempts) == [status] * number


def test_a_promotion_proves_nothing_of_claims(store, worker):
    attempts = enqueued(store, 3)
    put(store, attempts[0], status="scheduled")
    with refused(store, CLAIMS):
        assert store.malformed_rows.set_aside(worker.pk, ["default"]) == []
    assert statuses(store, attempts) == ["scheduled", "pending", "pending"]


@pytest.mark.only("postgresql", "mariadb", reason="SQLite locks no rows")
def test_a_neighbour_that_is_locked_proves_nothing(store, worker, sessions):
    first, second = enqueued(store, 2)
    session = sessions()
    with refused(store, CLAIMS):
        session.begin()
        session.do(list, store.database.attempts.filter(pk=first.pk).select_for_update())
        try:
            assert store.malformed_rows.set_aside(worker.pk, ["default"]) == []
        finally:
            session.rollback()
    assert statuses(store, (first, second)) == ["pending", "pending"]


def test_what_is_held_back_together_does_not_fail(store, worker):
    held_back = enqueued(store, 2, queue="emails")
    others = enqueued(store, 2)
    with refused(store, f"{CLAIMS} AND NEW.queue = 'emails'"):
        assert store.malformed_rows.set_aside(worker.pk, ["emails", "default"]) == []
    assert statuses(store, held_back + others) == ["pending"] * 4


@pytest.mark.only("postgresql", reason="its sequences alone count what is rolled back")
@pytest.mark.parametrize("refusals", ["1", "1, 2", "1, 2, 3", "1, 2, 4, 5"])
def test_an_outage_that_comes_and_goes_fails_nobody(store, worker, refusals):
    attempts = enqueued(store, 2)
    with store.database.connection.cursor() as cursor:
        cursor.execute("CREATE SEQUENCE refusals")
        try:
            with refused(store, f"{CLAIMS} AND nextval('refusals') IN ({refusals})"):
                assert store.malformed_rows.set_aside(worker.pk, ["default"]) == []
        finally:
            cursor.execute("DROP SEQUENCE refusals")
    assert statuses(store, attempts) == ["pending"] * 2


def test_nothing_fails_when_nothing_can_be_claimed(store, worker, monkeypatch):
    attempts = enqueued(store, 3)

    def broken(*_):
        raise ValueError

    monkeypatch.setattr(type(store.dialect), "claim_within", broken)
    assert store.malformed_rows.set_aside(worker.pk, ["default"]) == []
    assert statuses(store, attempts) == ["pending"] * 3


@pytest.mark.parametrize("status", ["pending", "scheduled"])
def test_what_is_behind_many_healthy_ones_is_found(refusing, worker, status):
    bad, template = poisoned(refusing, 2, status=status)
    put(refusing, template, scheduled_at=seconds_from_now(-60))
    multiply(refusing, template, 2 * TRIED_AT_ONCE)
    make_pending(refusing, bad, status)
    work = partial(refusing.claims.claim, worker.pk, ["default"], 500)
    with pytest.raises(Error):
        (refusing.claims.promote if status == "scheduled" else work)()
    [found] = refusing.malformed_rows.set_aside(worker.pk, ["default"])
    assert (row(refusing, bad).status, found.has_failed) == ("failed", True)
    assert refusing.database.attempts.filter(status=status).count() == 2 * TRIED_AT_ONCE + 1


def test_what_is_behind_a_queue_that_is_paused_is_found(refusing, worker, monkeypatch):
    monkeypatch.setattr("async_attempts.store.claim_trials.MOST_TRIED", 5)
    bad, *_ = poisoned(refusing, 2)
    make_pending(refusing, bad)
    enqueued(refusing, 10, queue="emails", priority=50)
    Queue._base_manager.using(refusing.database.alias).update_or_create(
        name="emails", defaults={"is_paused": True}
    )
    with pytest.raises(Error):
        refusing.claims.claim(worker.pk, ["emails", "default"], 5)
    assert refusing.malformed_rows.set_aside(worker.pk, ["emails", "default"])
    assert row(refusing, bad).status == "failed"
