"""Errors that are answers: final at once, told to those who wait, and to nobody else."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from async_attempts import (
    AttemptFailed,
    AttemptRefused,
    InvalidOption,
    Refused,
    attemptable,
    call,
    gather,
)
from async_attempts.lifecycle import Failed
from async_attempts.signals import failed
from tests.shop import effects, endings
from tests.shop.endings import OrderError, SoldOut
from tests.worker.execution.test_if_gone import perform
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, raising, stored

__all__ = ["perform"]

TARGETS = [endings.buy, endings.buy_atomically, endings.buy_asynchronously]
ANSWERS: list[Exception] = [
    SoldOut("only 2 are left"),
    OrderError("only 2 are left"),
    Refused("only 2 are left"),
]


@pytest.fixture
def told(settings) -> list[BaseException]:
    told: list[BaseException] = []
    settings.ASYNC_ATTEMPTS = {
        **settings.ASYNC_ATTEMPTS,
        "ON_ERROR": lambda _, error: told.append(error),
    }
    return told


@pytest.mark.parametrize("target", TARGETS)
def test_an_answer_is_final_whoever_performs_it(database, perform, acting, target):
    acting(raising(SoldOut("only 2 are left")))
    attempt = enqueued(database, target)
    perform(database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.failure_kind, attempt.num_attempts) == ("failed", "refused", 1)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_is_recorded_without_a_traceback(database, acting, told, answer):
    acting(raising(answer))
    attempt = performed(database, endings.buy)
    assert (attempt.status, attempt.failure_kind, attempt.num_attempts) == ("failed", "refused", 1)
    [failure] = failures(attempt)
    assert (failure.kind, failure.message, failure.traceback) == ("refused", "only 2 are left", "")
    assert failure.error_class == attempt.error_class
    assert attempt.error_class.endswith(type(answer).__name__)
    # The message may hold what the arguments held, and the reason is in clear.
    assert attempt.reason == f"refused: {attempt.error_class}"
    assert told == []


def test_whoever_waits_is_shown_the_message(database, acting):
    acting(raising(SoldOut("only 2 are left")))
    attempt = performed(database, endings.buy)
    for wait in (attempt.result, lambda: gather(attempt)):
        with pytest.raises(AttemptRefused, match=r"^only 2 are left$") as raised:
            wait()
        assert isinstance(raised.value, AttemptFailed)
        assert raised.value.message == "only 2 are left"
        assert raised.value.ending.refused
    [ending] = gather(attempt, until="settled")
    assert (ending.refused, ending.message) == (True, "only 2 are left")


def test_other_failures_are_what_they_were(database, acting, told):
    acting(raising(ValueError("a bug")))
    attempt = performed(database, endings.buy, options={"max_attempts": 1})
    assert (attempt.status, attempt.failure_kind) == ("failed", "error")
    assert [str(error) for error in told] == ["a bug"]
    with pytest.raises(AttemptFailed) as raised:
        attempt.result()
    assert not isinstance(raised.value, AttemptRefused)
    assert failures(attempt)[0].traceback


def test_an_expected_error_is_one_only_for_the_target_that_says_so(database, acting):
    acting(raising(OrderError("only 2 are left")))
    assert performed(database, effects.act).state == "scheduled"


def test_its_log_line_is_no_error_and_tells_no_message(database, acting, caplog):
    caplog.set_level(logging.INFO, "async_attempts")
    acting(raising(SoldOut("only 2 are left")))
    performed(database, endings.buy)
    [line] = [r for r in caplog.records if "refused" in r.getMessage()]
    assert line.levelname == "INFO"
    assert "tests.shop.endings.SoldOut" in line.getMessage()
    assert "only 2" not in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_person_may_retry_it(database, acting):
    acting(raising(SoldOut("none")))
    attempt = performed(database, endings.buy)
    attempt.retry()
    assert (stored(attempt).state, stored(attempt).failure_kind) == ("pending", None)
    acting(effects.nothing)
    drain(database)
    assert (stored(attempt).status, stored(attempt).failure_kind) == ("succeeded", None)


def test_a_persons_fail_has_no_kind(database):
    attempt = enqueued(database, endings.buy)
    attempt.fail("not wanted")
    assert stored(attempt).failure_kind is None


def test_a_refused_prerequisite_is_handed_on(database, acting):
    acting(raising(SoldOut("only 2 are left")))
    flow = call(endings.buy).using(database=database)
    flow.catch(effects.record).enqueue()
    drain(database)
    [(_, (ending,), _)] = effects.seen
    assert (ending.refused, ending.message) == (True, "only 2 are left")


@pytest.mark.parametrize(
    "wrong",
    [OrderError, [OrderError], (Exception,), (BaseException,), (KeyboardInterrupt,), ("x",), 1],
)
def test_what_can_not_be_expected_is_refused_where_it_is_declared(wrong):
    with pytest.raises(InvalidOption, match=r"^expected: must be a tuple of exception classes"):
        attemptable(expected=wrong)


def test_the_signal_of_failures_tells_the_kind(database, acting):
    heard: list[Failed] = []

    def hear(outcome: Failed, **_: Any) -> None:
        heard.append(outcome)

    failed.connect(hear)
    try:
        acting(raising(SoldOut("none")))
        performed(database, endings.buy)
    finally:
        failed.disconnect(hear)
    assert [one.error.kind for one in heard] == ["refused"]
