"""A worker is taken for dead when its lease was seen unchanged by one's own clock."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from async_attempts.worker.maintenance import maintenance
from async_attempts.worker.maintenance.maintenance import LeaseWatch

EARLY, LATER = (datetime(2026, 1, 1, 12, minute, tzinfo=UTC) for minute in (0, 1))
ONE, OTHER = uuid4(), uuid4()


@pytest.fixture
def clock(monkeypatch, settings):
    settings.ASYNC_ATTEMPTS = settings.ASYNC_ATTEMPTS | {"LEASE": 30}
    moments = [1000.0]
    monkeypatch.setattr(maintenance, "now", lambda: moments[0])
    return moments


def test_one_reading_is_no_proof(clock):
    watch = LeaseWatch()
    assert (watch.unchanged, watch.seconds) == ({}, 0.0)
    watch.see({ONE: EARLY})
    assert (watch.unchanged, watch.seconds) == ({}, 15.0)
    clock[0] += 14.9
    watch.see({ONE: EARLY})
    assert watch.unchanged == {}
    clock[0] += 0.1
    assert (watch.unchanged, watch.seconds) == ({ONE: EARLY}, 0.0)


def test_a_lease_that_was_renewed_is_watched_from_the_start(clock):
    watch = LeaseWatch()
    watch.see({ONE: EARLY, OTHER: EARLY})
    clock[0] += 15
    watch.see({ONE: LATER, OTHER: EARLY})
    assert watch.unchanged == {OTHER: EARLY}
    assert watch.seconds == 15.0


def test_a_lease_that_was_in_time_again_is_watched_from_the_start(clock):
    watch = LeaseWatch()
    watch.see({ONE: EARLY})
    clock[0] += 15
    watch.see({})
    watch.see({ONE: EARLY})
    assert watch.unchanged == {}
