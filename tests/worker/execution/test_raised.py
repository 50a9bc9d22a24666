"""What a target says of its own attempt by raising `Snooze`, `Fail` or `Expire`."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

import pytest

from async_attempts import Expire, Fail, Snooze
from async_attempts.models import DatabaseNow, Worker
from tests.shop import effects
from tests.worker.helpers.attempts import (
    drain,
    enqueued,
    failures,
    make_due,
    performed,
    raising,
    stored,
)


def test_a_snoozed_execution_does_not_count(database, acting):
    acting(raising(Snooze(timedelta(hours=1))))
    attempt = performed(database, effects.act)
    assert (attempt.state, attempt.num_attempts, attempt.claim_seq) == ("scheduled", 0, 1)
    assert attempt.claimed_by is None
    assert not failures(attempt)


def test_a_snooze_lasts_from_now_on(database, acting):
    acting(raising(Snooze(3600)))
    attempt = performed(database, effects.act)
    started = Worker.objects.using(database).get().started_at
    now = Worker.objects.using(database).annotate(now=DatabaseNow()).get().now
    hour = timedelta(hours=1)
    # The worker registered by its own clock, a moment before.
    assert started + hour - timedelta(seconds=5) < attempt.scheduled_at <= now + hour


def test_a_snooze_can_be_repeated_for_ever(database, acting):
    acting(raising(Snooze(3600)))
    attempt = performed(database, effects.act, options={"max_attempts": 1})
    for claim_seq in (2, 3):
        make_due(attempt)
        drain(database)
        attempt = stored(attempt)
        assert (attempt.num_attempts, attempt.claim_seq) == (0, claim_seq)
    acting(effects.nothing)
    make_due(attempt)
    drain(database)
    assert stored(attempt).status == "succeeded"


def test_fail_ends_an_attempt_whatever_its_backoff(database, acting):
    acting(raising(Fail("the card was refused")))
    attempt = performed(database, effects.act_thrice)
    assert (attempt.status, attempt.num_attempts) == ("failed", 1)
    assert attempt.reason == "the card was refused"
    (failure,) = failures(attempt)
    assert (failure.kind, failure.number) == ("error", 1)
    assert failure.error_class == "async_attempts.exceptions.Fail"


def test_expire_ends_an_attempt_without_a_failure(database, acting):
    acting(raising(Expire("the sale is over")))
    attempt = performed(database, effects.act_thrice)
    assert (attempt.status, attempt.reason) == ("expired", "the sale is over")
    assert attempt.num_attempts == 1
    assert not failures(attempt)


REASONS = ["", "nul \0 nul", "lone \ud800 surrogate", "long " * 10_000]


@pytest.mark.parametrize(("verb", "status"), [(Fail, "failed"), (Expire, "expired")])
def test_any_text_is_a_reason(database, acting, verb, status):
    def raise_reason(number: int) -> NoReturn:
        raise verb(REASONS[number])

    acting(raise_reason)
    attempts = [enqueued(database, effects.act, number) for number in range(len(REASONS))]
    drain(database)
    for attempt, reason in zip(map(stored, attempts), REASONS, strict=True):
        assert attempt.status == status
        assert attempt.reason[:4] == reason[:4]
        assert len(attempt.reason) <= 1000
