"""An attempt whose model row is gone: expired, failed or passed over, as its author says."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from async_attempts import Attempt, InvalidOption, attemptable, call
from tests.shop import effects, endings
from tests.shop.endings import ShippedOrder
from tests.worker.helpers.attempts import drain, enqueued, failures, stored
from tests.worker.helpers.executing import drain_in_threads


def perform_all(database: str) -> None:
    for attempt in Attempt.objects.using(database).filter(status__in=("pending", "scheduled")):
        attempt.perform()


PERFORMED_BY: list[Callable[[str], None]] = [drain, drain_in_threads, perform_all]


@pytest.fixture(params=PERFORMED_BY)
def perform(request: pytest.FixtureRequest) -> Callable[[str], None]:
    found: Callable[[str], None] = request.param
    return found


@pytest.fixture
def order(database):
    return ShippedOrder.objects.using(database).create(number=7)


def gone(database, target, *arguments, **options):
    """An attempt of the target, whose order was deleted after the enqueueing."""
    attempt = enqueued(database, target, *arguments, options=options)
    ShippedOrder.objects.using(database).all().delete()
    return attempt


def in_clear(order):
    return f"shop.ShippedOrder {order.pk} does not exist any more"


HIDDEN = "a row of shop.ShippedOrder does not exist any more"


@pytest.mark.parametrize("method", ["by_setting", "expire"])
def test_the_method_of_a_gone_row_expires_and_names_it(database, perform, order, method):
    reason = in_clear(order)
    attempt = gone(database, getattr(order, method))
    perform(database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.reason, failures(attempt)) == ("expired", reason, [])
    assert effects.seen == []


def test_a_gone_argument_expires_and_its_key_stays_sealed(database, perform, order):
    attempt = gone(database, endings.ship, order)
    perform(database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.reason, failures(attempt)) == ("expired", HIDDEN, [])
    assert effects.seen == []


def test_it_fails_if_the_author_wants_that(database, perform, order):
    reason = in_clear(order)
    method = enqueued(database, order.fail)
    argument = gone(database, endings.ship_or_fail, order)
    perform(database)
    for attempt, said in ((stored(method), reason), (stored(argument), HIDDEN)):
        assert (attempt.status, attempt.reason) == ("failed", said)
        [failure] = failures(attempt)
        assert (failure.kind, failure.error_class) == (
            "error",
            "async_attempts.exceptions.ObjectGone",
        )
    assert effects.seen == []


@pytest.mark.parametrize("target", [endings.ship_ignoring, endings.ship_atomically])
def test_a_gone_argument_is_ignored_if_the_author_wants_that(
    database, perform, order, target, caplog
):
    caplog.set_level(logging.INFO, "async_attempts")
    attempt = gone(database, target, order, keep_result=True)
    perform(database)
    attempt = stored(attempt)
    assert (attempt.status, attempt.reason, failures(attempt)) == ("succeeded", "", [])
    assert attempt.result() is None
    assert effects.seen == []
    [line] = [r for r in caplog.records if "isn't called" in r.getMessage()]
    assert (line.levelname, HIDDEN in line.getMessage()) == ("INFO", True)


def test_the_method_of_a_gone_row_is_ignored_if_the_author_wants_that(database, perform, order):
    attempt = gone(database, order.ignore)
    perform(database)
    assert stored(attempt).status == "succeeded"
    assert effects.seen == []


@pytest.mark.parametrize(
    ("chosen", "status"), [("expire", "expired"), ("fail", "failed"), ("ignore", "succeeded")]
)
def test_the_setting_decides_for_targets_that_say_nothing(
    database, settings, order, chosen, status
):
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "IF_GONE": chosen}
    silent = enqueued(database, endings.ship, order)
    decided = gone(database, order.expire)
    drain(database)
    assert stored(silent).status == status
    assert stored(decided).status == "expired"


def test_a_hook_for_errors_is_not_told(database, settings, order):
    told = []
    settings.ASYNC_ATTEMPTS = {
        **settings.ASYNC_ATTEMPTS,
        "ON_ERROR": lambda _, error: told.append(error),
    }
    gone(database, endings.ship, order)
    drain(database)
    assert told == []


def test_what_waits_for_it_expires_too(database, order):
    step = call(endings.ship, order).using(database=database)
    last = step.then(effects.record).enqueue()
    ShippedOrder.objects.using(database).all().delete()
    drain(database)
    assert stored(last).status == "expired"
    assert effects.seen == []


def test_what_waits_for_an_ignored_one_goes_on(database, order):
    step = call(endings.ship_ignoring, order).using(database=database)
    last = step.then(effects.record).enqueue()
    ShippedOrder.objects.using(database).all().delete()
    drain(database)
    assert stored(last).status == "succeeded"
    assert effects.seen == [("function", (None,), {})]


def test_a_row_that_is_there_is_what_it_was(database, perform, order):
    attempt = enqueued(database, order.expire)
    perform(database)
    assert (stored(attempt).status, effects.seen) == ("succeeded", [("expire", (), {})])


@pytest.mark.parametrize("wrong", ["skip", "", 1, True, ["expire"]])
def test_another_word_is_refused_where_it_is_declared(wrong):
    with pytest.raises(InvalidOption, match=r"^if_gone: must be 'expire' or 'fail' or 'ignore'"):
        attemptable(if_gone=wrong)


def test_the_sealed_record_of_a_failure_names_the_key_of_an_argument(database, order):
    pk = order.pk
    attempt = gone(database, endings.ship_or_fail, order)
    drain(database)
    [failure] = failures(attempt)
    assert f"primary key {pk}" in failure.message
