"""What a queue's defaults say of executions, where neither row nor target does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from async_attempts import Backoff, current_attempt
from tests.shop import effects
from tests.worker.helpers.attempts import performed, raising


@pytest.fixture
def defaults(settings):
    """Sets the defaults of the queues `default` and `emails`."""

    def set_defaults(**defaults):
        queues = {name: {"defaults": defaults} for name in ("default", "emails")}
        settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "QUEUES": queues}

    return set_defaults


@pytest.mark.parametrize(
    ("options", "most"), [({}, 2), ({"max_attempts": 1}, 1)], ids=["the queue's", "the row's"]
)
def test_executions(database, acting, defaults, options, most):
    defaults(max_attempts=2, backoff=Backoff.fixed(0))
    acting(raising(ValueError()))
    attempt = performed(database, effects.act, options=options)
    assert (attempt.status, attempt.num_attempts) == ("failed", most)
    assert attempt.reason == f"attempts exhausted: {most} of {most}"


def test_the_target_s_backoff_says_more_than_the_queue(database, acting, defaults):
    defaults(max_attempts=1, backoff=Backoff.fixed(3600))
    acting(raising(ValueError()))
    assert performed(database, effects.act_thrice).num_attempts == 3


def test_the_queue_s_backoff_gives_up(database, acting, defaults):
    defaults(backoff=Backoff.fixed(0, give_up_on=(KeyError,)))
    acting(raising(KeyError()))
    attempt = performed(database, effects.act)
    assert attempt.reason == "its backoff gives up on KeyError"


def test_the_timeout_and_what_a_target_knows(database, acting, defaults):
    defaults(timeout=9, max_attempts=1)
    known = []

    def know():
        attempt = current_attempt()
        left = (attempt.deadline - datetime.now(UTC)).total_seconds()
        known.append((left, attempt.max_attempts, attempt.is_last))

    acting(know)
    performed(database, effects.act_by_mail)
    [(left, most, is_last)] = known
    assert 5 < left <= 9
    assert (most, is_last) == (1, True)
