"""Retries in the target's own words: Retry, Snooze with an end, and what a Backoff says more."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError

from async_attempts import Backoff, InvalidOption, Retry, Snooze
from async_attempts.models import DatabaseNow
from async_attempts.targets import Policy
from async_attempts.worker.execution import retrying
from tests.shop import effects, endings
from tests.shop.endings import SoldOut, TooManyRequests
from tests.worker.execution.test_if_gone import perform
from tests.worker.execution.test_refused import told
from tests.worker.helpers.attempts import (
    drain,
    enqueued,
    failures,
    make_due,
    performed,
    raising,
    stored,
)
from tests.worker.processes.test_reaper_policies import ignored_its_timeout

__all__ = ["perform", "told"]

TARGETS = [endings.buy, endings.buy_atomically, endings.buy_asynchronously]
SENDING = [endings.send, endings.send_atomically, endings.send_asynchronously]


class OwnBackoff(Backoff):
    """A project's own, which may do anything."""


def delay_of(attempt):
    """Seconds from its last failure until it is due."""
    failure = failures(attempt)[-1]
    return (stored(attempt).scheduled_at - failure.failed_at).total_seconds()


def again(database, attempt, perform=drain):
    make_due(attempt)
    perform(database)
    return stored(attempt)


# --- Retry


@pytest.mark.parametrize("target", TARGETS)
def test_a_retry_is_counted_and_recorded_without_a_traceback(
    database, perform, acting, told, target
):
    acting(raising(Retry(after=timedelta(minutes=5), reason="the invoice isn't there yet")))
    attempt = enqueued(database, target)
    perform(database)
    attempt = stored(attempt)
    assert (attempt.state, attempt.num_attempts) == ("scheduled", 1)
    [failure] = failures(attempt)
    assert (failure.kind, failure.message) == ("error", "the invoice isn't there yet")
    assert failure.traceback == ""
    assert attempt.error_class == "async_attempts.exceptions.Retry"
    assert delay_of(attempt) == pytest.approx(300, abs=5)
    assert told == []


def test_a_retry_without_a_time_waits_as_its_backoff_says(database, acting):
    acting(raising(Retry()))
    attempt = performed(database, endings.send)
    assert delay_of(attempt) == pytest.approx(100, abs=5)
    assert failures(attempt)[0].message == "the target asked for another execution"


def test_retries_are_exhausted_as_others_are(database, acting, told):
    acting(raising(Retry(0, "not yet")))
    attempt = performed(database, endings.buy, options={"max_attempts": 3})
    assert (attempt.status, attempt.reason) == ("failed", "attempts exhausted: 3 of 3")
    assert [failure.message for failure in failures(attempt)] == ["not yet"] * 3
    # That it has ended so is for people.
    assert len(told) == 1


def test_a_backoff_that_gives_up_on_others_does_not_on_a_retry(database, acting):
    acting(raising(Retry(60)))
    assert performed(database, effects.act_choosily).state == "scheduled"


@pytest.mark.parametrize("wrong", [-1, "60", float("nan"), True])
def test_a_retry_with_a_wrong_time_names_it(wrong):
    with pytest.raises(InvalidOption, match=r"^Retry: after must be zero or more seconds"):
        Retry(after=wrong)


# --- Snooze(at_most=…)


@pytest.mark.parametrize("target", TARGETS)
def test_a_snooze_has_an_end_if_its_author_says_so(database, perform, acting, target):
    acting(raising(Snooze(60, at_most=2)))
    attempt = enqueued(database, target)
    perform(database)
    assert (stored(attempt).state, stored(attempt).num_snoozes) == ("scheduled", 1)
    assert again(database, attempt, perform).state == "scheduled"
    attempt = again(database, attempt, perform)
    assert (attempt.status, attempt.failure_kind) == ("failed", "error")
    assert attempt.reason == "snoozed 2 times, and may not be again"
    [failure] = failures(attempt)
    assert failure.error_class == "async_attempts.exceptions.Snooze"


def test_all_snoozes_count_and_a_person_lets_them_begin_again(database, acting):
    acting(raising(Snooze(60)))
    attempt = performed(database, endings.buy)
    again(database, attempt)
    acting(raising(Snooze(60, at_most=1)))
    assert again(database, attempt).reason == "snoozed once, and may not be again"
    attempt.retry()
    assert stored(attempt).num_snoozes is None
    assert again(database, attempt).state == "scheduled"


def test_a_snooze_without_an_end_asks_the_database_nothing(database, acting, monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr(retrying, "_asked", asked.append)
    acting(raising(Snooze(60)))
    assert performed(database, endings.buy).state == "scheduled"
    assert asked == []


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_a_snooze_with_a_wrong_end_names_it(wrong):
    with pytest.raises(InvalidOption, match=r"^Snooze: at_most must be a whole number"):
        Snooze(60, at_most=wrong)


# --- Backoff(give_up_after=…, queue=…, priority=…, after=…)


@pytest.mark.parametrize("target", SENDING)
def test_a_retry_goes_to_the_queue_and_priority_that_its_backoff_names(
    database, perform, acting, target
):
    acting(raising(ValueError("boom")))
    attempt = enqueued(database, target)
    assert (attempt.queue, attempt.priority) == ("default", 0)
    perform(database)
    attempt = stored(attempt)
    assert (attempt.state, attempt.queue, attempt.priority) == ("scheduled", "emails", -50)
    acting(effects.nothing)
    assert again(database, attempt, perform).status == "succeeded"


@pytest.mark.parametrize("target", SENDING)
def test_the_error_says_when_it_is_worth_trying_again(database, perform, acting, target):
    acting(raising(TooManyRequests(timedelta(minutes=7))))
    attempt = enqueued(database, target)
    perform(database)
    assert delay_of(attempt) == pytest.approx(420, abs=5)


@pytest.mark.parametrize(
    ("said", "delay"),
    [(7, 7), (-7, 0), (None, 100), ("soon", 100), (float("nan"), 100), (True, 100)],
)
def test_what_the_error_says_is_never_in_the_past_and_else_the_usual(said, delay):
    backoff = Backoff.fixed(100, after=lambda error: error.retry_after)
    error = TooManyRequests(said)
    assert retrying.storable(retrying._delay(backoff, 1, error)) == delay


def test_an_hour_of_the_remote_side_is_within_what_the_database_can_add(database, acting):
    acting(raising(Retry(after=1e300)))
    assert performed(database, endings.buy).state == "scheduled"


def let_first_begin(attempt, ago):
    """Let its first failed execution have begun so long ago."""
    attempt.failures.filter(number=1).update(started_at=DatabaseNow() - ago)


@pytest.mark.parametrize("target", SENDING)
def test_it_gives_up_so_long_after_the_first_execution(database, perform, acting, target):
    acting(raising(ValueError("boom")))
    attempt = enqueued(database, target)
    perform(database)
    let_first_begin(attempt, timedelta(minutes=50))
    assert again(database, attempt, perform).state == "scheduled"
    let_first_begin(attempt, timedelta(minutes=59))
    attempt = again(database, attempt, perform)
    # The next one would begin later than an hour after the first.
    assert (attempt.status, attempt.num_attempts) == ("failed", 3)
    assert attempt.reason == "its backoff gives up after 3600 s"


def test_a_persons_retry_lets_that_time_begin_again(database, acting):
    acting(raising(ValueError("boom")))
    attempt = performed(database, endings.send)
    let_first_begin(attempt, timedelta(hours=2))
    assert again(database, attempt).status == "failed"
    attempt.retry()
    assert again(database, attempt).state == "scheduled"
    assert again(database, attempt).state == "scheduled"
    first, second = failures(attempt)[:2]
    assert (first.number, second.number) == (1, 1)


def test_a_first_delay_that_is_too_long_gives_up_at_once(database, acting):
    acting(raising(TooManyRequests(timedelta(hours=2))))
    attempt = performed(database, endings.send)
    assert (attempt.status, attempt.num_attempts) == ("failed", 1)


def test_a_database_that_can_not_tell_keeps_nothing_from_being_retried(
    database, acting, monkeypatch
):
    acting(raising(ValueError("boom")))
    attempt = performed(database, endings.send)
    let_first_begin(attempt, timedelta(hours=2))
    monkeypatch.setattr(retrying, "store_for", lambda _: Unreachable())
    attempt = again(database, attempt)
    assert attempt.state == "scheduled"
    assert failures(attempt)[-1].error_class == "ValueError"


class Unreachable:
    """A store whose database is away."""

    @property
    def database(self):
        raise OperationalError("gone away")


def test_where_retries_go_is_no_matter_of_people_or_answers(database, acting):
    acting(raising(SoldOut("none")))
    attempt = performed(database, endings.send)
    assert (attempt.status, attempt.queue) == ("failed", "default")


def test_a_queue_that_this_worker_does_not_have_leaves_the_attempt_where_it_is(
    database, acting, settings
):
    acting(raising(ValueError("boom")))
    attempt = enqueued(database, endings.send)
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "QUEUES": {"default": {}}}
    drain(database)
    assert (stored(attempt).state, stored(attempt).queue) == ("scheduled", "default")


def test_the_database_is_asked_only_where_a_limit_is_set():
    assert not retrying.may_wait(Policy(backoff=Backoff()), "default", ValueError())
    assert retrying.may_wait(Policy(backoff=endings.BUSY), "default", ValueError())
    assert not retrying.may_wait(Policy(backoff=endings.BUSY), "default", None)
    asked = Backoff(after=lambda _: 1)
    assert retrying.may_wait(Policy(backoff=asked), "default", ValueError())
    assert retrying.may_wait(Policy(backoff=OwnBackoff()), "default", ValueError())
    assert not retrying.may_wait(Policy(), "default", Snooze(1))
    assert retrying.may_wait(Policy(), "default", Snooze(1, at_most=1))


def test_an_attempt_whose_child_was_killed_goes_where_its_backoff_says(database):
    attempt = ignored_its_timeout(database, endings.send)
    assert (attempt.state, attempt.queue, attempt.priority) == ("scheduled", "emails", -50)


def test_an_attempt_whose_child_was_killed_too_late_is_given_up(database, monkeypatch):
    monkeypatch.setattr(retrying, "_seconds_since_first", lambda *_: 3600.0)
    attempt = ignored_its_timeout(database, endings.send)
    assert (attempt.status, attempt.failure_kind) == ("failed", "timeout")
    assert attempt.reason == "its backoff gives up after 3600 s"
