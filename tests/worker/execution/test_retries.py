"""A failed execution is recorded, and tried again until its attempts are exhausted."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

import pytest

from async_attempts.models import Failure
from tests.shop import effects
from tests.worker.helpers.attempts import (
    drain,
    enqueued,
    failures,
    make_due,
    performed,
    put,
    raising,
    stored,
)


def explode(*args: object) -> NoReturn:
    raise ValueError("boom")


def test_a_failed_execution_is_scheduled_again_by_its_backoff(database, acting):
    acting(explode)
    attempt = performed(database, effects.act)
    assert (attempt.state, attempt.num_attempts, attempt.claim_seq) == ("scheduled", 1, 1)
    assert (attempt.claimed_by, attempt.completed_at) == (None, None)
    assert attempt.error_class == "ValueError"
    (failure,) = failures(attempt)
    delay = attempt.scheduled_at - failure.failed_at
    assert timedelta(seconds=14) < delay < timedelta(seconds=31)


def test_a_failure_says_what_went_wrong_where_and_when(database, acting):
    acting(explode)
    attempt = performed(database, effects.act)
    (failure,) = failures(attempt)
    assert (failure.kind, failure.number) == ("error", 1)
    assert (failure.error_class, failure.message) == ("ValueError", "boom")
    assert failure.traceback.startswith("Traceback (most recent call last):")
    assert 'raise ValueError("boom")' in failure.traceback
    assert failure.traceback.rstrip().endswith("ValueError: boom")
    assert failure.worker is not None
    assert failure.started_at is not None
    assert attempt.created_at <= failure.started_at <= failure.failed_at


def test_each_execution_leaves_a_failure_of_its_own(database, acting):
    acting(explode)
    attempt = enqueued(database, effects.act)
    for _ in range(3):
        make_due(attempt)
        drain(database)
    assert stored(attempt).num_attempts == 3
    assert [failure.number for failure in failures(attempt)] == [1, 2, 3]


def test_an_attempt_that_succeeds_at_last_has_succeeded(database, acting):
    acting(explode)
    attempt = performed(database, effects.act)
    acting(effects.nothing)
    make_due(attempt)
    drain(database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.num_attempts, attempt.claim_seq) == ("succeeded", 2, 2)
    assert len(failures(attempt)) == 1


def test_a_success_leaves_no_failure(database):
    performed(database, effects.act)
    assert not Failure.objects.using(database).exists()


def test_exhausted_attempts_fail_for_good(database, acting):
    acting(explode)
    attempt = performed(database, effects.act_thrice)
    assert (attempt.status, attempt.num_attempts) == ("failed", 3)
    assert attempt.reason == "attempts exhausted: 3 of 3"
    assert attempt.completed_at is not None
    assert [failure.number for failure in failures(attempt)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("row", "by_row"), [({"max_attempts": 1}, 1), ({"max_attempts": 2}, 2), ({}, 3)]
)
def test_the_rows_number_of_attempts_comes_before_its_backoffs(database, acting, row, by_row):
    acting(explode)
    attempt = performed(database, effects.act_thrice, options=row)
    assert (attempt.status, attempt.num_attempts) == ("failed", by_row)


def test_the_setting_limits_what_says_nothing_itself(database, acting, settings):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "DEFAULT_MAX_ATTEMPTS": 1}
    acting(explode)
    assert performed(database, effects.act).status == "failed"


def test_by_default_an_attempt_is_executed_25_times(database, acting):
    acting(explode)
    attempt = enqueued(database, effects.act)
    put(attempt, num_attempts=23)
    drain(database)
    assert stored(attempt).status == "scheduled"
    make_due(attempt)
    drain(database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.reason) == ("failed", "attempts exhausted: 25 of 25")


@pytest.mark.parametrize(
    ("exception", "executions"),
    [
        (FileNotFoundError("given up, though an OSError"), 1),
        (ValueError("not among what is retried"), 1),
        (TimeoutError("an OSError"), 25),
    ],
)
def test_a_backoff_says_what_is_retried(database, acting, exception, executions):
    acting(raising(exception))
    attempt = performed(database, effects.act_choosily)
    assert (attempt.status, attempt.num_attempts) == ("failed", executions)
    assert attempt.error_class == type(exception).__name__
