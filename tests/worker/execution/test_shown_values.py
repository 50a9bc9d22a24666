"""What a worker opens and keeps is shown to no error reporter, whatever becomes of the attempt."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, transaction

from async_attempts import Attempt, call, signals
from async_attempts.encryption import seal
from async_attempts.exceptions import (
    AttemptsError,
    CipherUnavailable,
    InvalidArguments,
    InvalidTarget,
    ObjectGone,
    ResultNotSealed,
    Tampered,
)
from async_attempts.models import Failure
from async_attempts.targets import CallSignature
from async_attempts.worker.execution import outcomes
from tests.shop import effects, secretive
from tests.shop.models import Customer
from tests.shop.vault import Vault
from tests.shown import CANARY, reports_showing, shown_by
from tests.worker.helpers.attempts import drain, enqueued, failures, performed, put, raising, stored
from tests.worker.helpers.executing import drain_in_threads

TARGETS = [effects.act, effects.act_atomically, effects.act_asynchronously]


def perform_all(database: str) -> None:
    """Each in the calling thread, without a worker's process."""
    for attempt in Attempt.objects.using(database).pending():
        attempt.perform()


PERFORMED_BY: list[Callable[[str], None]] = [drain, drain_in_threads, perform_all]


@pytest.fixture(params=PERFORMED_BY)
def perform(request: pytest.FixtureRequest) -> Callable[[str], None]:
    found: Callable[[str], None] = request.param
    return found


@pytest.fixture
def told(settings) -> list[BaseException]:
    """The errors that ON_ERROR, and so a reporter, gets."""
    told: list[BaseException] = []
    settings.ASYNC_ATTEMPTS = {
        **settings.ASYNC_ATTEMPTS,
        "IF_GONE": "fail",
        "ON_ERROR": lambda _, error: told.append(error),
    }
    return told


@pytest.fixture
def put_off(settings) -> Any:
    """The errors for which attempts are released."""
    errors: list[BaseException] = []

    def hear(exception: BaseException, **_: Any) -> None:
        errors.append(exception)

    signals.released.connect(hear)
    yield errors
    signals.released.disconnect(hear)


def with_gone_row(database: str, target: Any, **options: Any) -> Any:
    customer = Customer.objects.using(database).create(name="A")
    attempt = enqueued(database, target, CANARY, [CANARY], customer, options=options, key=CANARY)
    customer.delete()
    return attempt


@pytest.mark.parametrize("target", TARGETS)
def test_a_row_that_is_gone(database, told, perform, target):
    attempt = with_gone_row(database, target)
    perform(database)
    (error,) = told
    assert isinstance(error, ObjectGone)
    assert shown_by(error) == []
    assert list(reports_showing(error)) == []
    assert stored(attempt).reason == "a row of shop.Customer does not exist any more"


def test_a_row_that_is_gone_for_who_reads_the_arguments(database):
    attempt = stored(with_gone_row(database, effects.record))
    with pytest.raises(ObjectGone) as raised:
        _ = attempt.method_args
    assert shown_by(raised.value) == []


def test_a_row_that_is_gone_from_a_result(database, acting):
    customer = Customer.objects.using(database).create(name="A")
    acting(lambda: {CANARY: [CANARY, customer]})
    attempt = performed(database, effects.act, options={"keep_result": True})
    customer.delete()
    for read in (lambda: attempt.stored_result, lambda: attempt.result(timeout=10)):
        with pytest.raises(ObjectGone) as raised:
            read()
        assert shown_by(raised.value) == []


def test_a_row_that_is_gone_beside_a_result_that_is_handed_on(database, told, acting):
    customer = Customer.objects.using(database).create(name="A")
    acting(lambda *_: CANARY)
    first = call(effects.act).using(database=database)
    first.then(secretive.take_handed, CANARY, customer).enqueue()
    customer.delete()
    drain(database)
    (error,) = told
    assert isinstance(error, ObjectGone)
    assert shown_by(error) == []


def test_a_handed_result_whose_row_is_gone(database, told, acting):
    customer = Customer.objects.using(database).create(name="A")

    def give_and_delete(*_: Any) -> Any:
        given: list[Any] = [CANARY, Customer(pk=customer.pk, name="A")]
        given[1]._state.adding = False
        given[1]._state.db = database
        customer.delete()
        return given

    acting(give_and_delete)
    call(effects.act).using(database=database).then(secretive.take_handed, CANARY).enqueue()
    drain(database)
    (error,) = told
    assert isinstance(error, AttemptsError)
    assert shown_by(error, but="tests.shop.effects") == []


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_raises(database, told, acting, perform, target):
    async def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no")

    acting(refuse if target is effects.act_asynchronously else raising(OSError("no")))
    enqueued(database, target, CANARY, key=[CANARY])
    perform(database)
    (error,) = told
    ours = [place for place in shown_by(error, but="tests.shop.effects") if "refuse" not in place]
    assert [place for place in ours if not place.startswith("raising")] == []


def test_arguments_that_do_not_fit_any_more(database, told, perform, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(CallSignature, "check", lambda *_: None)
        enqueued(database, effects.write, CANARY, key=[CANARY])
    perform(database)
    (error,) = told
    assert isinstance(error, TypeError)
    assert shown_by(error) == []


@pytest.mark.parametrize("target", TARGETS)
def test_a_result_that_cannot_be_kept(database, caplog, acting, perform, target):
    async def give() -> Any:
        return {CANARY: [{CANARY: object()}]}

    is_async = target is effects.act_asynchronously
    acting(give if is_async else lambda: {CANARY: [{CANARY: object()}]})
    attempt = enqueued(database, target, options={"keep_result": True})
    with caplog.at_level(logging.DEBUG):
        perform(database)
    assert stored(attempt).reason == "its result can't be kept: object can't be stored."
    (failure,) = failures(attempt)
    assert failure.message.startswith("result.")
    assert CANARY in failure.message
    assert CANARY not in caplog.text


@pytest.fixture
def vault(settings) -> type[Vault]:
    settings.ASYNC_ATTEMPTS = {**settings.ASYNC_ATTEMPTS, "CIPHER": "tests.shop.vault.Vault"}
    return Vault


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize("target", TARGETS)
def test_a_result_that_cannot_be_sealed(database, told, acting, monkeypatch, target):
    async def give() -> Any:
        return [CANARY]

    acting(give if target is effects.act_asynchronously else lambda: [CANARY])
    for perform in PERFORMED_BY:
        told.clear()
        enqueued(database, target, options={"keep_result": True})
        with monkeypatch.context() as patch:
            patch.setattr(outcomes, "SEALING_SECONDS", 0)
            patch.setattr(Vault, "encrypt", raising(OperationalError("no")))
            perform(database)
        (error,) = told
        assert isinstance(error, ResultNotSealed)
        assert shown_by(error) == []


def test_a_result_beside_a_block_that_was_left_open(database, told, acting):
    def leave_open() -> list[str]:
        transaction.atomic(database).__enter__()
        return [CANARY]

    acting(leave_open)
    enqueued(database, effects.act, options={"keep_result": True})
    drain(database)
    (error,) = told
    assert shown_by(error) == []


@pytest.mark.usefixtures("vault")
def test_a_cipher_that_cannot_open(database, put_off, perform, monkeypatch):
    attempt = enqueued(database, effects.record, CANARY)

    def half_open(self: Any, stored: Any, context: Any) -> bytes:
        opened = super(Vault, self).decrypt(stored, context)
        raise OperationalError(len(opened))

    monkeypatch.setattr(Vault, "decrypt", half_open)
    perform(database)
    assert put_off
    for error in put_off:
        assert isinstance(error, CipherUnavailable)
        assert shown_by(error) == []
    with pytest.raises(CipherUnavailable) as raised:
        _ = stored(attempt).method_args
    assert shown_by(raised.value) == []


def test_arguments_that_were_altered(database, told, perform):
    attempt = enqueued(database, effects.record, CANARY)
    put(attempt, method_name="record_async")
    perform(database)
    (error,) = told
    assert isinstance(error, Tampered)
    assert shown_by(error) == []


@pytest.mark.parametrize(
    "content",
    [
        f'[[{{"$":"datetime","v":["{CANARY}",null]}}],{{}}]',
        f'["{CANARY}"',
        f'{{"{CANARY}": 1}}',
        f'[["{CANARY}",{{"$":"enum","v":["no.such.Class","B"]}}],{{}}]',
        f'[[{"[" * 40}"{CANARY}"{"]" * 40}],{{}}]',
    ],
)
def test_what_cannot_be_read(database, told, content):
    attempt = enqueued(database, effects.record)
    put(attempt, args=seal(content.encode(), attempt.context("args")))
    drain(database)
    (error,) = told
    assert isinstance(error, InvalidArguments | InvalidTarget)
    assert shown_by(error) == []


def test_a_failure_that_was_read_keeps_its_message_to_itself(database, acting):
    acting(raising(ValueError(CANARY)))
    (failure,) = failures(performed(database, effects.act))
    assert failure.message == CANARY
    assert CANARY not in repr(vars(failure))
    assert CANARY.encode() not in pickle.dumps(failure)
    pickled = pickle.loads(pickle.dumps(failure))  # noqa: S301 - made by this test
    for copied in (pickled, copy.copy(failure), copy.deepcopy(failure)):
        assert "_read" not in vars(copied)
        assert copied.message == CANARY
    assert CANARY not in repr(Failure.objects.using(database).values())
