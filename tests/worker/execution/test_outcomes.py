"""Whatever a target raises, its failure is recorded and the worker goes on."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from async_attempts import Attempt, call, enqueue_many
from async_attempts.exceptions import UnknownTarget
from async_attempts.store import store_for
from async_attempts.targets import Policy
from async_attempts.worker.execution.outcomes import outcome_of_target
from async_attempts.worker.shared.registration import new_worker
from tests.shop import effects, legacy
from tests.worker.helpers.attempts import (
    drain,
    enqueued,
    failures,
    performed,
    raising,
    states,
    stored,
)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class SelfishExitError(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


RAISED = [
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    asyncio.CancelledError(),
    RecursionError(),
    MemoryError(),
    ExceptionGroup("two at once", [ValueError("one"), OSError("two")]),
    UnprintableError(),
    SelfishExitError(),
]


@pytest.mark.parametrize(
    "target", [effects.act, effects.act_asynchronously, effects.act_atomically]
)
def test_whatever_is_raised_is_a_failure_and_the_worker_lives(database, acting, target):
    def raise_number(number: int) -> NoReturn:
        raise RAISED[number]

    acting(raise_number)
    attempts = [enqueued(database, target, number) for number in range(len(RAISED))]
    neighbour = enqueued(database, effects.record)
    drain(database)
    assert stored(neighbour).status == "succeeded"
    for attempt, exception in zip(attempts, RAISED, strict=True):
        assert stored(attempt).state == "scheduled"
        (failure,) = failures(attempt)
        assert failure.error_class.endswith(type(exception).__name__)
        assert isinstance(failure.message, str)


def test_endless_recursion_is_a_failure(database, acting):
    def endless() -> None:
        endless()

    acting(endless)
    attempt = performed(database, effects.act)
    (failure,) = failures(attempt)
    assert failure.error_class == "RecursionError"


TEXTS = {
    "nul \0 in it": "nul � in it",
    "a lone \ud800 surrogate": "a lone ? surrogate",
    "🙂 umläute": "🙂 umläute",
    "": "",
}


def test_any_text_of_an_error_is_kept(database, acting):
    def raise_text(number: int) -> NoReturn:
        raise ValueError(list(TEXTS)[number])

    acting(raise_text)
    attempts = [enqueued(database, effects.act, number) for number in range(len(TEXTS))]
    drain(database)
    messages = [failure.message for attempt in attempts for failure in failures(attempt)]
    assert messages == list(TEXTS.values())


def test_a_huge_text_of_an_error_is_cut(database, acting):
    acting(raising(ValueError("x" * 20_000_000)))
    (failure,) = failures(performed(database, effects.act))
    assert failure.message == "x" * (len(failure.message) - 1) + "…"
    assert len(failure.details) < 200_000


def test_a_deep_chain_of_causes_is_cut(database, acting):
    def chain() -> NoReturn:
        error: Exception = ValueError("the root")
        for number in range(500):
            link = ValueError(f"link {number}")
            link.__cause__ = error
            error = link
        raise error

    acting(chain)
    (failure,) = failures(performed(database, effects.act))
    assert failure.message == "link 499"
    assert failure.traceback.rstrip().endswith("link 499")


def test_many_long_failures_at_once_are_recorded(database):
    store, worker = store_for(database), new_worker(queues=["default"])
    enqueue_many(call(effects.record).using(database=database) for _ in range(60))
    store.workers.register(worker, 30.0)
    error = ValueError("🙂" * 10_000)
    error.add_note("🙂" * 40_000)
    claims = store.claims.claim(worker.pk, ["default"], 60)
    results = [(claim, outcome_of_target(claim, Policy(), error)) for claim in claims]
    assert store.outcomes.finish(worker.pk, results) == []
    assert states(database) == ["scheduled"] * 60


def test_a_class_with_an_endless_name_is_named_in_part(database, acting):
    acting(raising(type("E" * 1000, (Exception,), {})()))
    attempt = performed(database, effects.act)
    assert len(attempt.error_class) == 255


def test_a_target_that_this_code_does_not_know_is_tried_again(database, monkeypatch):
    attempt = enqueued(database, effects.record)
    monkeypatch.delattr(effects, "record")
    drain(database)
    attempt = stored(attempt)
    assert (attempt.state, attempt.num_attempts) == ("scheduled", 1)
    (failure,) = failures(attempt)
    assert failure.kind == "unknown target"
    assert failure.error_class == f"{UnknownTarget.__module__}.{UnknownTarget.__qualname__}"
    assert "tests.shop.effects" in failure.message


def test_a_target_that_is_attemptable_no_more_is_not_called(database, settings):
    given = settings.ASYNC_ATTEMPTS
    settings.ASYNC_ATTEMPTS = {**given, "TARGETS": ["tests.shop.legacy.*"]}
    attempt = enqueued(database, legacy.print_invoice, 1)
    settings.ASYNC_ATTEMPTS = given
    drain(database)
    (failure,) = failures(attempt)
    assert failure.kind == "unknown target"
    assert failure.error_class == "async_attempts.exceptions.InvalidTarget"


def test_an_unknown_target_fails_for_good_in_the_end(database, monkeypatch):
    attempt = enqueued(database, effects.record, options={"max_attempts": 1})
    monkeypatch.delattr(effects, "record")
    drain(database)
    assert stored(attempt).status == "failed"


def test_arguments_that_do_not_fit_any_more_are_a_failure(database, acting):
    acting(lambda: None)
    attempt: Attempt = performed(database, effects.act, 1, 2)
    assert attempt.state == "scheduled"
    assert attempt.error_class == "TypeError"
