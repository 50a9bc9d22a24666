"""Arguments, results and the texts of errors stay out of logs and reprs."""

from __future__ import annotations

import logging
from typing import NoReturn

import pytest

from async_attempts import Arguments, Fail, current_attempt, signals
from async_attempts.exceptions import UnsupportedType
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, put, raising

CANARY = "c4n4ry-in-the-mine"


@pytest.fixture
def logged(caplog):
    """Everything that is logged, at any level."""
    with caplog.at_level(logging.DEBUG):
        yield lambda: caplog.text


RAISED = [ValueError(CANARY), Fail(CANARY), KeyError(CANARY), SystemExit(CANARY)]


@pytest.mark.parametrize("target", [effects.act, effects.act_thrice, effects.act_atomically])
def test_no_text_of_an_error_is_logged(database, acting, logged, target):
    def raise_number(number: int, *secrets: str) -> NoReturn:
        raise RAISED[number]

    acting(raise_number)
    attempts = [enqueued(database, target, number, CANARY) for number in range(len(RAISED))]
    drain(database)
    assert all(str(attempt.pk) in logged() for attempt in attempts)
    assert CANARY not in logged()


def test_no_argument_is_logged_or_kept_in_a_traceback(database, acting, logged):
    def refuse(secret: str) -> None:
        raise ValueError("refused")

    acting(refuse)
    (failure,) = failures(performed(database, effects.act, CANARY))
    assert CANARY not in failure.traceback + failure.message
    assert CANARY not in logged()


def test_no_argument_of_an_altered_attempt_is_logged(database, logged):
    attempt = enqueued(database, effects.record, CANARY)
    put(attempt, method_name="record_async")
    drain(database)
    (failure,) = failures(attempt)
    assert CANARY not in failure.traceback + failure.message
    assert CANARY not in logged()


def test_no_result_that_cannot_be_kept_is_named(database, acting, logged):
    class Secret:
        def __repr__(self) -> str:
            return CANARY

    acting(lambda: {"key": Secret()})
    attempt = performed(database, effects.act, options={"keep_result": True})
    assert attempt.status == "failed"
    assert CANARY not in attempt.reason + logged()


def test_no_hook_that_raises_is_quoted(database, acting, logged, settings):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "ON_ERROR": raising(OSError(CANARY))}
    acting(raising(ValueError(CANARY)))
    performed(database, effects.act)
    assert "OSError" in logged()
    assert CANARY not in logged()


def test_no_repr_shows_arguments(database, acting):
    shown: list[str] = []

    def show(secret: str, *, named: str) -> None:
        attempt = current_attempt()
        shown.extend([repr(attempt), str(attempt)])

    def show_claim(claim, **kwargs):
        shown.extend([repr(claim), str(claim)])

    acting(show)
    signals.started.connect(show_claim)
    try:
        attempt = performed(database, effects.act, CANARY, named=CANARY)
    finally:
        signals.started.disconnect(show_claim)
    assert attempt.method_args == Arguments(CANARY, named=CANARY)
    shown += [repr(attempt), str(attempt), repr(attempt.method_args), str(attempt.method_args)]
    assert len(shown) == 8
    assert not [text for text in shown if CANARY in text or repr(CANARY.encode()) in text]


def test_no_argument_that_is_refused_is_quoted(database):
    with pytest.raises(UnsupportedType) as refused:
        enqueued(database, effects.record, [CANARY, {CANARY: object()}])
    assert "object" in str(refused.value)
    assert CANARY not in str(refused.value)
