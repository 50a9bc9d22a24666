"""The sentence on an attempt's page that says why it is in its state."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from async_attempts import Attempt
from async_attempts.admin import explaining
from async_attempts.admin.cells import spoken

THEN = datetime(2020, 2, 1, 12, tzinfo=UTC)
PROMISE = {
    "target": "tests.shop.clients.OrderClient",
    "method_name": "fulfill",
    "queue": "emails",
    "scheduled_at": THEN,
}
RUNNING = {"claimed_by": UUID(int=7), "started_at": THEN, "num_attempts": 1}


@pytest.fixture(autouse=True)
def _undated(monkeypatch):
    monkeypatch.setattr(explaining, "spoken", lambda moment: "then" if moment == THEN else "never")


@pytest.mark.parametrize(
    ("status", "columns", "sentence"),
    [
        (
            "scheduled",
            {"num_attempts": 2, "error_class": "TimeoutError"},
            "execution 3 of 10 is due then; last error TimeoutError",
        ),
        ("pending", {}, "execution 1 of 10, due then, waits for a worker of the queue emails"),
        ("running", RUNNING, "execution 1 of 10 was claimed then"),
        (
            "running",
            RUNNING | {"cancel_requested": True},
            "execution 1 of 10 was claimed then; it was asked to stop",
        ),
        ("waiting", {"blockers": 1}, "for 1 prerequisite"),
        ("waiting", {"blockers": 2}, "for 2 prerequisites"),
        ("waiting", {"limit_key": "customer-7"}, "for a free slot of its limit customer-7"),
        (
            "succeeded",
            {"num_attempts": 2, "error_class": "TimeoutError"},
            "execution 2 of 10 ended then",
        ),
        (
            "failed",
            {"reason": "attempts exhausted", "error_class": "TimeoutError", "num_crashes": 3},
            "attempts exhausted; ended then; last error TimeoutError",
        ),
        ("expired", {}, "no reason was given; ended then"),
    ],
)
def test_one_sentence_says_why_it_is_in_its_state(status, columns, sentence):
    stored = "pending" if status == "running" else status
    attempt = Attempt(**PROMISE, status=stored, completed_at=THEN, **columns)
    assert explaining.explain(attempt) == f"{status}: {sentence}"


@pytest.mark.parametrize(
    ("crashes", "clause"),
    [
        (1, "it was in hand when a worker died, so it is performed alone"),
        (2, "it was in hand when 2 workers died, so it is performed alone"),
    ],
)
def test_a_suspect_is_said_to_be_performed_alone(crashes, clause):
    attempt = Attempt(**PROMISE, status="pending", num_crashes=crashes)
    assert explaining.explain(attempt).endswith(f"; {clause}")


def test_a_target_that_this_code_does_not_have_is_explained_by_the_settings():
    attempt = Attempt(**PROMISE | {"target": "tests.shop.gone"}, status="scheduled")
    assert explaining.explain(attempt) == "scheduled: execution 1 of 25 is due then"


def test_a_moment_is_spoken_in_the_current_time_zone_and_relative(settings):
    settings.TIME_ZONE = "Europe/Berlin"
    absolute, relative = spoken(THEN).split(" (")
    assert absolute == "Feb. 1, 2020, 1 p.m."
    assert relative.endswith("ago)")
