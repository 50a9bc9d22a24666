"""A result is kept when that was asked for."""

from __future__ import annotations

import pytest

from async_attempts import ResultNotKept, call, enqueue_many
from async_attempts.lifecycle import NOT_KEPT
from tests.shop import effects
from tests.worker.helpers.attempts import drain, failures, performed, stored

KEEP = {"keep_result": True}


@pytest.mark.parametrize("target", [effects.act, effects.act_atomically])
def test_a_result_is_kept_sealed(database, acting, target):
    acting(lambda: {"sent": ["a", 1]})
    attempt = performed(database, target, options=KEEP)
    assert attempt.status == "succeeded"
    assert attempt.stored_result == {"sent": ["a", 1]}
    assert b"sent" not in bytes(attempt.sealed_result)


TARGETS = [effects.act, effects.act_atomically, effects.act_asynchronously]


def returning(value, target):
    async def later():
        return value

    return later if target is effects.act_asynchronously else lambda: value


@pytest.mark.parametrize("target", TARGETS)
def test_a_result_that_nobody_asked_for_is_not_kept_and_that_is_noted(database, acting, target):
    acting(returning("not kept", target))
    attempt = performed(database, target)
    assert (attempt.status, attempt.stored_result) == ("succeeded", None)
    assert attempt.sealed_result == NOT_KEPT
    with pytest.raises(ResultNotKept, match="keep_result=True"):
        attempt.result(timeout=1)


@pytest.mark.parametrize("target", TARGETS)
def test_none_needs_not_be_kept(database, acting, target):
    acting(returning(None, target))
    attempt = performed(database, target)
    assert (attempt.sealed_result, attempt.result(timeout=1)) == (None, None)


def test_many_that_return_something_and_many_that_return_none_are_told_apart(database, acting):
    acting(lambda value=None: value)
    calls = [call(effects.act, value).using(database=database) for value in (1, None, 2, None)]
    attempts = enqueue_many(calls)
    drain(database)
    assert [stored(one).sealed_result for one in attempts] == [NOT_KEPT, None, NOT_KEPT, None]
    assert {stored(one).status for one in attempts} == {"succeeded"}


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
