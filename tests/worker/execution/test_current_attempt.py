"""What a target can know of its own attempt."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from async_attempts import Attempt, current_attempt
from tests.shop import effects
from tests.worker.helpers.attempts import drain, enqueued, make_due, performed, stored

FIELDS = "id queue num_attempts claim_seq idempotency_key metadata".split()


@pytest.fixture
def known(acting):
    """What `current_attempt()` said in each execution."""
    known: list[dict[str, Any]] = []

    def know(fail: bool = False) -> None:
        known.append({name: getattr(current_attempt(), name) for name in FIELDS})
        if fail:
            raise ValueError

    acting(know)
    return known


def test_a_target_knows_its_attempt(database, known):
    attempt = performed(database, effects.act_by_mail, options={"metadata": {"tag": ["a", 1]}})
    (fields,) = known
    assert fields == {
        "id": attempt.pk,
        "queue": "emails",
        "num_attempts": 1,
        "claim_seq": 1,
        "idempotency_key": str(attempt.pk),
        "metadata": {"tag": ["a", 1]},
    }


def test_the_deadline_is_of_the_row_else_of_the_decorator_else_of_the_setting(database, acting):
    left = []

    def know() -> None:
        left.append((current_attempt().deadline - datetime.now(UTC)).total_seconds())

    async def know_async() -> None:
        know()

    acting(know_async)
    performed(database, effects.act_asynchronously, options={"timeout": 3})
    performed(database, effects.act_asynchronously)
    acting(know)
    performed(database, effects.act)
    by_row, by_decorator, by_setting = left
    assert 0 < by_row <= 3 < by_decorator <= 7 < by_setting <= 300


def test_the_idempotency_key_is_the_token_and_the_same_in_each_execution(database, known):
    attempt = enqueued(database, effects.act, True, options={"idempotence_token": "welcome-1"})
    for _ in range(2):
        make_due(attempt)
        drain(database)
    assert [fields["idempotency_key"] for fields in known] == ["welcome-1", "welcome-1"]
    assert [fields["num_attempts"] for fields in known] == [1, 2]
    assert [fields["claim_seq"] for fields in known] == [1, 2]


def test_a_target_sees_that_its_attempt_was_asked_to_stop(database, acting):
    noticed = []

    def notice() -> None:
        noticed.append(current_attempt().cancel_requested)
        Attempt.objects.using(database).get(pk=current_attempt().id).request_cancel()
        noticed.append(current_attempt().cancel_requested)

    acting(notice)
    attempt = performed(database, effects.act)
    assert noticed == [False, True]
    assert attempt.status == "succeeded"


def test_outside_of_a_target_there_is_none(database, acting):
    with pytest.raises(LookupError, match="inside a target"):
        current_attempt()
    performed(database, effects.act)
    with pytest.raises(LookupError, match="inside a target"):
        current_attempt()


def test_after_a_target_that_raised_there_is_none(database, known):
    performed(database, effects.act, True)
    assert len(known) == 1
    with pytest.raises(LookupError):
        current_attempt()


def test_an_async_target_and_its_tasks_know_their_attempt(database, acting):
    ids = []

    async def know() -> None:
        async def know_in_task() -> None:
            await asyncio.sleep(0)
            ids.append(current_attempt().id)

        ids.append(current_attempt().id)
        await asyncio.gather(know_in_task(), know_in_task())
        await asyncio.to_thread(lambda: ids.append(current_attempt().id))

    acting(know)
    attempts = [enqueued(database, effects.act_asynchronously) for _ in range(2)]
    drain(database)
    assert [stored(attempt).status for attempt in attempts] == ["succeeded", "succeeded"]
    assert ids == [attempts[0].pk] * 4 + [attempts[1].pk] * 4


def test_an_attempt_performed_within_a_target_has_its_own(database, acting):
    inner = enqueued(database, effects.act_by_mail)
    ids = []

    def know(outer: bool = False) -> None:
        ids.append(current_attempt().id)
        if outer:
            stored(inner).perform()
            ids.append(current_attempt().id)

    acting(know)
    attempt = enqueued(database, effects.act, True)
    drain(database, queues="default")
    assert ids == [attempt.pk, inner.pk, attempt.pk]


def test_a_default_stands_for_it_where_there_is_none(database, acting):
    seen: list[Any] = []
    acting(lambda: seen.append(current_attempt(None)))
    effects.act()
    attempt = performed(database, effects.act)
    assert current_attempt("nothing") == "nothing"
    assert seen[0] is None
    assert seen[1].id == attempt.pk


@pytest.mark.parametrize(
    ("options", "most"),
    [({"max_attempts": 2}, 2), ({}, 1)],
    ids=["the row's", "the setting's"],
)
def test_a_target_knows_its_last_execution(database, acting, settings, options, most):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "DEFAULT_MAX_ATTEMPTS": 1}
    known = []

    def fail() -> None:
        known.append((current_attempt().max_attempts, current_attempt().is_last))
        raise ValueError

    acting(fail)
    attempt = enqueued(database, effects.act, options=options)
    while stored(attempt).status != "failed":
        make_due(attempt)
        drain(database)
    assert known == [(most, number == most) for number in range(1, most + 1)]


def test_lines_of_its_log_name_the_attempt(database, acting, caplog):
    def log() -> None:
        current_attempt().log.info("%d%% done", 50, extra={"shop": "Berlin"})

    acting(log)
    with caplog.at_level(logging.INFO, "async_attempts.target"):
        attempt = performed(database, effects.act)
    (record,) = [r for r in caplog.records if r.name == "async_attempts.target"]
    assert record.getMessage() == f"tests.shop.effects.act {attempt.pk}: 50% done"
    said = [vars(record)[name] for name in "attempt_id target queue num_attempts shop".split()]
    assert said == [str(attempt.pk), "tests.shop.effects.act", "default", 1, "Berlin"]
    assert Path(record.pathname).name == Path(__file__).name
