"""An attempt that is sealed with a key that this worker lacks waits for one that has it."""

from __future__ import annotations

from base64 import b64encode

import pytest

from tests.shop import effects
from tests.worker.attempts import drain, enqueued, failures, make_due, states, stored

OTHER_KEY = b64encode(bytes(range(1, 33))).decode()


@pytest.fixture
def with_keys(settings):
    """Sets the keys in force."""
    given = settings.ASYNC_ATTEMPTS

    def with_keys(*keys):
        settings.ASYNC_ATTEMPTS = {**given, "KEYS": list(keys) or given["KEYS"]}

    return with_keys


def test_it_is_released_with_its_count_and_never_failed(database, with_keys):
    attempt = enqueued(database, effects.record, 1, options={"max_attempts": 1})
    with_keys(OTHER_KEY)
    drain(database)
    attempt = stored(attempt)
    assert (attempt.state, attempt.num_attempts, attempt.claim_seq) == ("scheduled", 0, 1)
    assert (attempt.claimed_by, attempt.started_at) == (None, None)
    assert not failures(attempt)
    with_keys()
    make_due(attempt)
    drain(database)
    assert stored(attempt).status == "succeeded"
    assert effects.seen == [("function", (1,), {})]


def test_five_in_a_row_are_an_error_in_the_log(database, with_keys, caplog):
    attempts = [enqueued(database, effects.record) for _ in range(5)]
    with_keys(OTHER_KEY)
    drain(database, batch_size=5)
    assert states(database) == ["scheduled"] * len(attempts)
    (error,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert error.getMessage().startswith("5 attempts in a row are sealed with keys that this")
    assert "ASYNC_ATTEMPTS['KEYS']" in error.getMessage()


def test_four_in_a_row_are_none(database, with_keys, caplog):
    for _ in range(4):
        enqueued(database, effects.record)
    with_keys(OTHER_KEY)
    drain(database)
    assert not [r for r in caplog.records if r.levelname == "ERROR"]


def test_a_drain_performs_what_it_can_behind_them(database, with_keys):
    unknown = [enqueued(database, effects.record, options={"priority": 1}) for _ in range(5)]
    with_keys(OTHER_KEY)
    known = enqueued(database, effects.record)
    drain(database, batch_size=5)
    assert stored(known).status == "succeeded"
    assert {stored(attempt).state for attempt in unknown} == {"scheduled"}
