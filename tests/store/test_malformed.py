"""Where the tables have no checks: a row that nobody can handle fails, and nothing else does."""

from __future__ import annotations

import logging

import pytest
from django.db import Error

from async_attempts.models import DatabaseNow, Failure, Schedule, Worker
from async_attempts.models.bounds import MOST_CLAIMS, MOST_COUNTED
from async_attempts.store.expressions import seconds_from_now

from .malformed import moments, put_raw, without_checks
from .rows import enqueued, put, registered, row


@pytest.fixture
def unchecked(store):
    with without_checks(store.database.alias):
        yield store


POISON = [
    ("scheduled_at", "pending"),
    ("scheduled_at", "scheduled"),
    ("expires_at", "pending"),
    ("started_at", "pending"),
    ("created_at", "scheduled"),
]


@pytest.mark.parametrize(("column", "status"), POISON)
def test_a_malformed_moment_fails_its_attempt(unchecked, worker, column, status):
    for value in moments(unchecked.database.alias):
        bad, good = enqueued(unchecked, 2)
        put(unchecked, bad, status=status)
        put_raw(unchecked.database.alias, bad.pk, **{column: value})
        [found] = unchecked.malformed_rows.set_aside(worker.pk, ["default"])
        assert found.has_failed
        failed = row(unchecked, bad)
        assert (failed.status, failed.reason) == ("failed", f"malformed: {column}")
        assert [claim.id for claim in unchecked.claims.claim(worker.pk, ["default"], 5)] == [
            good.pk
        ]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("num_attempts", "2147483647"),
        ("num_attempts", "-1"),
        ("claim_seq", "9223372036854775807"),
        ("timeout", "-1"),
        ("concurrency", "-5"),
    ],
)
def test_a_number_out_of_range_fails_its_attempt(unchecked, worker, column, value):
    bad, good = enqueued(unchecked, 2)
    put_raw(unchecked.database.alias, bad.pk, **{column: value})
    [found] = unchecked.malformed_rows.set_aside()
    assert str(found).endswith(f"has failed: malformed: {column}")
    assert (row(unchecked, bad).status, row(unchecked, good).status) == ("failed", "pending")


@pytest.mark.only("sqlite", reason="the others have a type for ids")
@pytest.mark.parametrize("value", ["'5'", "5", f"'{'g' * 32}'"])
def test_an_id_that_is_none_fails_its_attempt(unchecked, worker, value):
    bad, good = enqueued(unchecked, 2)
    put_raw(unchecked.database.alias, bad.pk, id=value)
    with pytest.raises(ValueError, match=r"UUID|hex|int"):
        unchecked.claims.claim(worker.pk, ["default"], 5)
    [found] = unchecked.malformed_rows.set_aside(worker.pk, ["default"])
    unchecked.claims.release_unknown(worker.pk)
    assert found.problem == "malformed: id"
    [failed] = unchecked.database.attempts.filter(status="failed")
    assert failed.pk not in (bad.pk, good.pk)
    assert [claim.id for claim in unchecked.claims.claim(worker.pk, ["default"], 5)] == [good.pk]


def test_what_is_failed_once_is_not_found_again_and_can_be_retried(unchecked, worker):
    [bad] = enqueued(unchecked)
    put_raw(unchecked.database.alias, bad.pk, scheduled_at=moments(unchecked.database.alias)[0])
    assert unchecked.malformed_rows.set_aside()
    assert unchecked.malformed_rows.set_aside() == []
    row(unchecked, bad).retry()
    assert [claim.id for claim in unchecked.claims.claim(worker.pk, ["default"], 5)] == [bad.pk]


def test_what_has_ended_is_mended_and_stays_as_it_ended(unchecked):
    [bad] = enqueued(unchecked)
    put(unchecked, bad, status="succeeded", completed_at=DatabaseNow())
    put_raw(unchecked.database.alias, bad.pk, started_at=moments(unchecked.database.alias)[0])
    [found] = unchecked.malformed_rows.set_aside()
    assert not found.has_failed
    mended = row(unchecked, bad)
    assert (mended.status, mended.started_at) == ("succeeded", None)


def test_a_malformed_schedule_is_paused_and_the_others_tick(unchecked):
    schedules = Schedule._base_manager.using(unchecked.database.alias)
    given = {"cron": "* * * * *", "timezone": "UTC", "target": "t", "args": b""}
    bad, good = schedules.bulk_create(
        Schedule(name=name, next_tick=seconds_from_now(60), **given) for name in "ab"
    )
    for value in moments(unchecked.database.alias):
        put_raw(unchecked.database.alias, bad.pk, Schedule, next_tick=value, is_paused="false")
        [found] = unchecked.malformed_rows.mend_schedules()
        assert (found.problem, found.has_failed) == ("malformed: next_tick", False)
        bad.refresh_from_db()
        assert (bad.is_paused, bad.next_tick) == (True, None)
        good.refresh_from_db()
        assert not good.is_paused
        assert 50 < unchecked.claims.look(["default"]).next_tick < 61


def test_a_worker_with_a_malformed_lease_is_late(unchecked, worker):
    other = registered(unchecked)
    for value in moments(unchecked.database.alias):
        put_raw(unchecked.database.alias, other.pk, Worker, lease=value)
        [found] = unchecked.malformed_rows.set_aside()
        assert found.problem == "malformed: lease"
        assert other.pk in unchecked.workers.late_leases(30)
        put(unchecked, enqueued(unchecked)[0], priority=0)


@pytest.mark.parametrize("table", ["attempt", "schedule"])
def test_a_look_sees_past_a_malformed_moment(unchecked, worker, table):
    if table == "attempt":
        bad, good = enqueued(unchecked, 2)
        put(unchecked, bad, status="scheduled")
        put(unchecked, good, status="scheduled", scheduled_at=seconds_from_now(60))
    for value in moments(unchecked.database.alias):
        if table == "attempt":
            put_raw(unchecked.database.alias, bad.pk, scheduled_at=value)
        queue_state = unchecked.claims.look(["default"])
        # It is due, or as if it weren't there; what is due is promoted, and fails then.
        assert queue_state.next_due is None or queue_state.next_due < 61


def test_the_reason_names_every_column(unchecked):
    [bad] = enqueued(unchecked)
    moment = moments(unchecked.database.alias)[0]
    put_raw(unchecked.database.alias, bad.pk, scheduled_at=moment, created_at=moment, timeout="-1")
    unchecked.malformed_rows.set_aside()
    failed = row(unchecked, bad)
    assert failed.reason == "malformed: scheduled_at, created_at, timeout"
    assert failed.timeout is None


@pytest.mark.only("sqlite", reason="the others have a type for ids")
def test_a_failure_of_no_attempt_is_deleted_and_told_so(unchecked, worker):
    failures = Failure._base_manager.using(unchecked.database.alias)
    given = {"number": 1, "kind": "error", "details": b"", "failed_at": DatabaseNow()}
    failure = failures.create(attempt_id=enqueued(unchecked)[0].pk, **given)
    with unchecked.database.connection.constraint_checks_disabled():
        put_raw(unchecked.database.alias, failure.pk, Failure, attempt_id="'none'")
        [found] = unchecked.malformed_rows.set_aside(worker.pk, ["default"])
    assert str(found).startswith("failure ")
    assert str(found).endswith("was deleted: malformed: attempt")
    assert not failures.exists()


def test_the_log_names_the_row(unchecked, caplog):
    [bad] = enqueued(unchecked)
    put_raw(unchecked.database.alias, bad.pk, timeout="-1")
    with caplog.at_level(logging.ERROR):
        [found] = unchecked.malformed_rows.set_aside()
    assert str(found).startswith("attempt ")
    assert found.table == "attempt"


@pytest.mark.parametrize(
    ("column", "value"), [("num_attempts", MOST_COUNTED), ("claim_seq", MOST_CLAIMS)]
)
def test_numbers_that_a_claim_cannot_count_up_fail_however_many_there_are(
    store, worker, column, value
):
    bad = enqueued(store, 3)
    for one in bad:
        put(store, one, **{column: value})
    with pytest.raises(Error):
        store.claims.claim(worker.pk, ["default"], 5)
    assert len(store.malformed_rows.set_aside(worker.pk, ["default"])) == 3
    assert {row(store, one).reason for one in bad} == {f"malformed: {column}"}


def test_what_somebody_mends_meanwhile_does_not_fail(unchecked, monkeypatch):
    [bad] = enqueued(unchecked)
    put_raw(unchecked.database.alias, bad.pk, scheduled_at=moments(unchecked.database.alias)[0])
    fail = unchecked.malformed_rows._fail

    def mended_before(*args):
        put(unchecked, bad, scheduled_at=DatabaseNow())
        return fail(*args)

    monkeypatch.setattr(unchecked.malformed_rows, "_fail", mended_before)
    assert unchecked.malformed_rows.set_aside() == []
    assert row(unchecked, bad).status == "pending"
