"""`attempt.perform()`: here and now, by the same rules as a worker."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, transaction

from async_attempts.calls import call
from async_attempts.exceptions import InvalidTransition
from async_attempts.models import DatabaseNow, Worker
from tests.shop import effects
from tests.store.conftest import sessions
from tests.worker.helpers.attempts import drain, enqueued, failures, make_due, put, raising, stored

__all__ = ["sessions"]


def test_it_calls_the_target_and_records_the_outcome(database):
    attempt = enqueued(database, effects.record, 1)
    attempt.perform()
    assert effects.seen == [("function", (1,), {})]
    assert (attempt.status, attempt.num_attempts, attempt.claim_seq) == ("succeeded", 1, 1)
    assert stored(attempt).status == "succeeded"
    assert Worker.objects.using(database).get().state == "stopped"


def test_it_records_what_the_target_raises_and_raises_nothing(database, acting):
    acting(raising(KeyboardInterrupt()))
    attempt = enqueued(database, effects.act)
    attempt.perform()
    assert attempt.state == "scheduled"
    assert [failure.error_class for failure in failures(attempt)] == ["KeyboardInterrupt"]


def test_it_performs_atomic_targets(database):
    attempt = enqueued(database, effects.write_row, database)
    attempt.perform()
    assert attempt.status == "succeeded"


def test_it_performs_what_was_scheduled_and_is_due(database, acting):
    acting(raising(ValueError()))
    attempt = enqueued(database, effects.act)
    attempt.perform()
    acting(effects.nothing)
    make_due(attempt)
    attempt.perform()
    assert (attempt.status, attempt.num_attempts) == ("succeeded", 2)


def test_what_is_not_due_is_refused(database):
    attempt = call(effects.record).using(database=database, scheduled_at=timedelta(hours=1))
    row = attempt.enqueue()
    with pytest.raises(InvalidTransition, match="it is scheduled, due 2"):
        row.perform()
    assert (row.num_attempts, row.claim_seq) == (0, 0)
    assert effects.seen == []


def test_what_is_running_is_refused(database, acting):
    refusals: list[object] = []

    def perform_again() -> None:
        with pytest.raises(InvalidTransition, match="it is running") as refusal:
            stored(attempt).perform()
        refusals.append(refusal)

    acting(perform_again)
    attempt = enqueued(database, effects.act)
    attempt.perform()
    assert len(refusals) == 1
    assert (attempt.status, attempt.claim_seq) == ("succeeded", 1)


@pytest.mark.parametrize("end", ["succeeded", "failed", "expired"])
def test_what_has_ended_is_refused_also_by_a_stale_copy(database, end):
    attempt = enqueued(database, effects.record)
    stale = stored(attempt)
    if end == "succeeded":
        drain(database)
    else:
        {"failed": attempt.fail, "expired": attempt.expire}[end]("by hand")
    effects.seen.clear()
    with pytest.raises(InvalidTransition, match=f"it is {end}"):
        stale.perform()
    assert effects.seen == []
    assert stored(attempt).status == end


def test_it_is_refused_inside_an_atomic_block(database):
    attempt = enqueued(database, effects.record)
    with pytest.raises(RuntimeError, match="atomic"), transaction.atomic(database):
        attempt.perform()
    assert effects.seen == []
    assert stored(attempt).state == "pending"


def test_what_is_past_its_expires_at_expires_instead(database):
    attempt = enqueued(database, effects.record, options={"expires_at": timedelta(hours=1)})
    put(attempt, expires_at=DatabaseNow())
    with pytest.raises(InvalidTransition, match="it is expired"):
        attempt.perform()
    assert (attempt.status, attempt.num_attempts) == ("expired", 0)
    assert effects.seen == []


def test_an_outcome_that_could_not_be_recorded_is_taken_back_with_the_lease(
    database, settings, monkeypatch
):
    def refuse(*args: object) -> None:
        raise OperationalError("the database went away")

    attempt = enqueued(database, effects.record)
    with monkeypatch.context() as patched:
        patched.setattr("async_attempts.worker.processes.perform_now.acknowledge", refuse)
        with pytest.raises(OperationalError):
            attempt.perform()
    assert stored(attempt).state == "running"
    holder = Worker.objects.using(database).get(state="live")
    assert holder.pk == stored(attempt).claimed_by
    Worker.objects.using(database).update(lease=DatabaseNow() - timedelta(seconds=1))
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "LEASE": 1}
    drain(database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.num_attempts, attempt.claim_seq) == ("succeeded", 2, 2)


def test_a_row_that_is_gone_is_refused(database):
    attempt = enqueued(database, effects.record)
    stored(attempt).delete()
    with pytest.raises(type(attempt).DoesNotExist):
        attempt.perform()


@pytest.mark.only("postgresql", "mariadb", reason="SQLite locks no rows")
def test_an_outcome_whose_row_somebody_locks_is_recorded_once_it_is_free(
    database, acting, sessions
):
    attempt = enqueued(database, effects.act)
    somebody = sessions()

    def be_locked():
        somebody.begin()
        somebody.do(
            lambda: (
                type(attempt)._base_manager.using(database).select_for_update().get(pk=attempt.pk)
            )
        )
        threading.Timer(0.2, somebody.rollback).start()

    acting(be_locked)
    attempt.perform()
    assert attempt.status == "succeeded"
    assert Worker.objects.using(database).get().state == "stopped"
