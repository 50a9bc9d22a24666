"""A result is kept when that was asked for."""

from __future__ import annotations

import pytest

from tests.shop import effects
from tests.worker.attempts import failures, performed

KEEP = {"keep_result": True}


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_result_is_kept_sealed(database, acting, target):
    acting(lambda: {"sent": ["a", 1]})
    attempt = performed(database, target, options=KEEP)
    assert attempt.status == "succeeded"
    assert attempt.stored_result == {"sent": ["a", 1]}
    assert b"sent" not in bytes(attempt.sealed_result)


def test_a_result_that_nobody_asked_for_is_not_kept(database, acting):
    acting(lambda: "not kept")
    attempt = performed(database, effects.act)
    assert (attempt.status, attempt.sealed_result) == ("succeeded", None)


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_result_that_cannot_be_kept_fails_and_is_not_tried_again(database, acting, target):
    acting(object)
    attempt = performed(database, target, options=KEEP)
    assert (attempt.status, attempt.num_attempts) == ("failed", 1)
    assert "its result can't be kept" in attempt.reason
    assert len(failures(attempt)) == 1


def test_a_huge_result_is_refused_and_stops_no_worker(database, acting):
    acting(lambda: "x" * 20_000_000)
    attempt = performed(database, effects.act, options=KEEP)
    assert attempt.status == "failed"
    assert "its result can't be kept" in attempt.reason
