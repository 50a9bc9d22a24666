"""The setting `ON_ERROR` hears of each failure, after it was recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from async_attempts import Expire, Fail, Snooze
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, put, raising, stored


@pytest.fixture
def on_error(settings) -> Callable[[Callable[..., Any]], None]:
    """Sets the hook."""
    given = settings.ASYNC_ATTEMPTS

    def set_hook(hook):
        settings.ASYNC_ATTEMPTS = {**given, "ON_ERROR": hook}

    return set_hook


@pytest.fixture
def told(on_error) -> list[tuple[str, int, str, int]]:
    """State, executions and failures of the attempt, and the error, at each call of the hook."""
    told: list[tuple[str, int, str, int]] = []

    def tell(attempt, error):
        found = stored(attempt)
        told.append((found.state, found.num_attempts, repr(error), len(failures(attempt))))
        assert attempt.state == found.state

    on_error(tell)
    return told


@pytest.mark.parametrize("target", [effects.act_thrice, effects.act_atomically])
def test_it_is_called_after_the_failure_was_recorded(database, acting, told, target):
    acting(raising(ValueError("boom")))
    performed(database, target, options={"max_attempts": 1})
    assert told == [("failed", 1, "ValueError('boom')", 1)]


def test_it_is_called_for_each_failed_execution(database, acting, told):
    acting(raising(ValueError("boom")))
    performed(database, effects.act_thrice)
    assert told == [
        ("scheduled", 1, "ValueError('boom')", 1),
        ("scheduled", 2, "ValueError('boom')", 2),
        ("failed", 3, "ValueError('boom')", 3),
    ]


def test_it_hears_of_fail_and_of_altered_rows(database, acting, told):
    acting(raising(Fail("why")))
    performed(database, effects.act)
    altered = enqueued(database, effects.record)
    put(altered, target_pk="1")
    drain(database)
    assert [state for state, *_ in told] == ["failed", "failed"]
    assert "Fail" in told[0][2]
    assert "Tampered" in told[1][2]


@pytest.mark.parametrize("raised", [Snooze(60), Expire("over"), None])
def test_it_hears_of_nothing_else(database, acting, told, raised):
    acting(raising(raised) if raised else effects.nothing)
    performed(database, effects.act)
    assert told == []


@pytest.mark.parametrize("broken", [OSError("broken hook"), SystemExit(1), KeyboardInterrupt()])
def test_what_it_raises_itself_is_logged_and_changes_nothing(
    database, acting, on_error, caplog, broken
):
    on_error(raising(broken))
    acting(raising(ValueError("boom")))
    attempt = enqueued(database, effects.act)
    neighbour = enqueued(database, effects.record)
    with caplog.at_level(logging.ERROR):
        drain(database)
    assert [failure.message for failure in failures(attempt)] == ["boom"]
    assert stored(neighbour).status == "succeeded"
    assert f"handle_perform_error raised {type(broken).__name__}" in caplog.text


def test_it_may_change_the_attempt(database, acting, on_error):
    on_error(lambda attempt, _: attempt.expire("not worth another try"))
    acting(raising(ValueError("boom")))
    attempt = performed(database, effects.act)
    assert (attempt.status, attempt.reason) == ("expired", "not worth another try")


def test_it_may_be_named_by_its_dotted_name(database, acting, on_error):
    on_error("tests.shop.effects.record")
    acting(raising(ValueError("boom")))
    attempt = performed(database, effects.act)
    ((_, arguments, _),) = effects.seen
    assert arguments[0] == attempt
    assert repr(arguments[1]) == "ValueError('boom')"
