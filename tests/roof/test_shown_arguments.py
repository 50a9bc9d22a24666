"""An enqueue that is refused shows its arguments to no error reporter, whoever refuses it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import cache
from typing import Any, NoReturn

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.db import OperationalError, connections
from django.db.models.signals import pre_save
from django.test import override_settings

from async_attempts import (
    Arguments,
    Attempt,
    InvalidArguments,
    InvalidOption,
    QueueFull,
    aemit,
    aenqueue,
    aenqueue_stream,
    call,
    emit,
    enqueue,
    enqueue_many,
    enqueue_stream,
    event,
    on,
    parallel,
    recurring,
    schedule,
)
from async_attempts.exceptions import AttemptsError, InvalidSetting, UnsupportedType
from async_attempts.payload import serialization
from async_attempts.targets import target_of
from tests.roof.admin_pages import OneDatabase
from tests.shop.secretive import limited, take, take_handed
from tests.shop.vault import Vault
from tests.shown import CANARY, reports_showing, shown_by

pytestmark = pytest.mark.usefixtures("listening")

Rows: Any = Attempt
given: dict[str, Any] = {}
"""What is enqueued, by keyword: no variable of a test's own holds the canary."""


def row() -> Any:
    return Rows(target=take, method_args=given)


def stream_of_one() -> Iterator[Any]:
    yield call(take, **given)


async def astream_of_one() -> AsyncIterator[Any]:
    yield call(take, **given)


def itself(made: Any) -> Any:
    return made


def in_a_loop(begin: Callable[[], Any]) -> Any:
    async def awaited() -> Any:
        return await begin()

    return async_to_sync(awaited)()


WAYS: dict[str, Callable[[], Any]] = {
    "enqueue": lambda: enqueue(take, **given),
    "enqueue by position": lambda: enqueue(take, *given.values()),
    "call": lambda: call(take, **given).enqueue(),
    "using": lambda: call(take, **given).using(priority=5).enqueue(),
    "token": lambda: call(take, **given).using(idempotence_token="once").enqueue(),
    "debounce": lambda: call(take, **given).using(debounce=5).enqueue(),
    "schedule": lambda: schedule(timedelta(days=1), take, **given),
    "many": lambda: enqueue_many([call(take, **given), call(take, **given)]),
    "many of several kinds": lambda: enqueue_many(
        [call(take, **given), call(take_handed, 1, **given).using(priority=5)]
    ),
    "a generator": lambda: enqueue_many(stream_of_one(), returning=False),
    "a stream": lambda: enqueue_stream(itself, stream_of_one(), timeout=0.1),
    "parallel": lambda: parallel(call(take, **given), call(take, **given)).enqueue(),
    "then": lambda: call(take, **given).then(take_handed, **given).enqueue(),
    "catch": lambda: call(take).catch(take_handed, **given).enqueue(),
    "finally": lambda: call(take).finally_(take, **given).enqueue(),
    "save": lambda: row().save(),
    "create": lambda: Rows.objects.create(target=take, method_args=given),
    "create by an alias": lambda: Rows.objects.using(None).create(
        target=take, method_args=list(given.values())
    ),
    "create of Arguments": lambda: Rows.objects.create(target=take, method_args=Arguments(**given)),
    "bulk_create": lambda: Rows.objects.bulk_create([row(), row()]),
    "get_or_create": lambda: Rows.objects.get_or_create(
        target=take, idempotence_token="a", defaults={"method_args": given}
    ),
    "update_or_create": lambda: Rows.objects.update_or_create(
        idempotence_token="b",
        create_defaults={"target": "tests.shop.secretive.take", "method_args": given},
    ),
    "emit": lambda: emit("shown", **given),
    "event": lambda: event("shown", **given).using(metadata={}).emit(),
    "aenqueue": lambda: in_a_loop(lambda: aenqueue(take, **given)),
    "acall": lambda: in_a_loop(lambda: call(take, **given).aenqueue()),
    "astream": lambda: in_a_loop(lambda: aenqueue_stream(itself, astream_of_one(), timeout=0.1)),
    "aflow": lambda: in_a_loop(lambda: parallel(call(take, **given)).aenqueue()),
    "asave": lambda: in_a_loop(lambda: row().asave()),
    "acreate": lambda: in_a_loop(lambda: Rows.objects.acreate(target=take, method_args=given)),
    "abulk_create": lambda: in_a_loop(lambda: Rows.objects.abulk_create([row()])),
    "aget_or_create": lambda: in_a_loop(
        lambda: Rows.objects.aget_or_create(target=take, defaults={"method_args": given})
    ),
    "aemit": lambda: in_a_loop(lambda: aemit("shown", **given)),
}


@cache
def deep() -> list[Any]:
    value: list[Any] = [CANARY]
    for _ in range(40):
        value = [value]
    return value


def refusing(*_: Any, **__: Any) -> None:
    raise OperationalError("no")


def settings_with(**changed: Any) -> override_settings:
    return override_settings(ASYNC_ATTEMPTS=django_settings.ASYNC_ATTEMPTS | changed)


VALUES: dict[str, Callable[[], dict[str, Any]]] = {
    "what can't be stored": lambda: {"secret": CANARY, "other": [{"at": CANARY}, object()]},
    "unsaved": lambda: {"secret": CANARY, "other": row()},
    "a lone surrogate": lambda: {"secret": CANARY, "other": f"{CANARY}\ud800"},
    "a nested lone surrogate": lambda: {"secret": CANARY, "other": [f"{CANARY}\ud800"]},
    "too deep": lambda: {"secret": deep()},
    "too large": lambda: {"secret": CANARY * 10_000},
}
"""Arguments that are refused."""


def cipher_is_away(stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    stack.enter_context(settings_with(CIPHER="tests.shop.vault.Vault"))
    patch.setattr(Vault, "reach", staticmethod(refusing))


def keys_are_wrong(stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    stack.enter_context(settings_with(KEYS=["bad"]))


def queue_is_not_declared(stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    stack.enter_context(settings_with(QUEUES={"parcels": {}}))
    # What is known of rows of this kind was found out with other queues.
    for target in (take, take_handed):
        kinds = target_of(target).templates
        for model in list(kinds):
            patch.delitem(kinds, model)


def queue_is_full(stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    stack.enter_context(settings_with(QUEUES={"default": {"max_pending": 1}}))
    patch.setattr("async_attempts.store.queues.Queues.require_room", full)


def full(*_: Any) -> NoReturn:
    raise QueueFull("default", 1)


def database_is_away(stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    for connection in connections.all():
        stack.enter_context(connection.execute_wrapper(refusing))


def encoder_is_broken(stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(serialization, "encode", refusing)


Kind = type[Exception] | tuple[type[Exception], ...]

CIRCUMSTANCES: dict[str, tuple[Kind, Callable[[ExitStack, pytest.MonkeyPatch], None]]] = {
    "cipher": (OperationalError, cipher_is_away),
    "keys": (InvalidSetting, keys_are_wrong),
    "queue": (InvalidOption, queue_is_not_declared),
    "full queue": ((QueueFull, TimeoutError), queue_is_full),
    "database": (OperationalError, database_is_away),
    "encoder": (OperationalError, encoder_is_broken),
}
"""Who refuses arguments that are right."""

RIGHT = {"secret": CANARY, "other": [CANARY, {CANARY: CANARY}]}


@pytest.fixture
def at_home(at_home: str, settings: Any) -> str:
    """The database that all rows go to."""
    settings.DATABASE_ROUTERS = [OneDatabase(at_home)]
    return at_home


@pytest.fixture
def _heard() -> Iterator[None]:
    on("shown")(take)
    given.clear()
    yield
    given.clear()


def refused(way: str, kind: Kind) -> BaseException:
    try:
        WAYS[way]()
    except kind as error:
        return error
    pytest.fail("it isn't refused")


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("way", WAYS)
def test_arguments_that_are_refused_are_not_shown(at_home, way):
    shown = {}
    for name, values in VALUES.items():
        given.clear()
        given.update(values())
        shown[name] = shown_by(refused(way, InvalidArguments))
    assert shown == {name: [] for name in VALUES}


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("way", WAYS)
def test_arguments_are_not_shown_when_something_else_refuses_them(at_home, monkeypatch, way):
    given.update(RIGHT)
    shown = {}
    for name, (kind, happen) in CIRCUMSTANCES.items():
        with ExitStack() as stack, monkeypatch.context() as patch:
            happen(stack, patch)
            shown[name] = shown_by(refused(way, kind))
    assert shown == {name: [] for name in CIRCUMSTANCES}


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("way", ["enqueue", "then", "create", "emit", "acreate", "a stream"])
def test_django_shows_no_arguments(at_home, way):
    given.update(VALUES["what can't be stored"]())
    assert list(reports_showing(refused(way, InvalidArguments))) == []


nothing: Any = None

WRONG_CALLS: dict[str, Callable[[], Any]] = {
    "an argument too many": lambda: enqueue(take, CANARY, CANARY, CANARY),  # type: ignore[call-arg]
    "an unknown keyword": lambda: enqueue(take, unknown=CANARY),  # type: ignore[call-arg]
    "an unknown keyword of an event": lambda: emit("shown", unknown=CANARY),
    "the name of an event": lambda: emit("shown", event=CANARY),
    "a glob": lambda: emit("*", secret=CANARY),
    "no mapping": lambda: Rows(target=take, method_args=CANARY),
    "a key that is no name": lambda: Rows(target=take, method_args={b"a": CANARY}),
    "no mapping, later": lambda: setattr(Rows(target=take), "method_args", CANARY),
    "an unknown column": lambda: Rows(target=take, method_args=[CANARY], no_column=1),
    "an unknown column of create": lambda: Rows.objects.create(method_args=[CANARY], no=1),
    "no call": lambda: enqueue_many([CANARY]),  # type: ignore[list-item]
    "no function": lambda: call(take).use().then("no function", CANARY),
    "a call's arguments": lambda: call(take).use().catch(call(take).use(), CANARY),
    "no calls": lambda: parallel(CANARY),
    "no target": lambda: enqueue("no target", CANARY),  # type: ignore[arg-type]
    "an item": lambda: enqueue_stream(lambda _: nothing, [CANARY]),
    "a limit key": lambda: enqueue(limited, CANARY),
    "a schedule": lambda: recurring("@daily", method_args=CANARY)(take),
}


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("wrong", WRONG_CALLS)
def test_arguments_of_a_wrong_call_are_not_shown(at_home, wrong):
    with pytest.raises((AttemptsError, TypeError)) as raised:
        WRONG_CALLS[wrong]()
    if wrong == "a limit key":
        # Its own function was called with them.
        assert shown_by(raised.value) == ["no_key: _"]
    else:
        assert shown_by(raised.value) == []
        assert list(reports_showing(raised.value)) == []


def test_a_receiver_that_raises_is_shown_no_more_than_the_row(at_home):
    given.update(RIGHT)
    pre_save.connect(refusing, sender=Attempt)
    try:
        for way in ("save", "create", "enqueue", "acreate"):
            assert shown_by(refused(way, OperationalError)) == []
    finally:
        pre_save.disconnect(refusing, sender=Attempt)


def test_what_the_caller_was_handling_is_left_as_it_is(at_home):
    def handle(mine: str) -> None:
        try:
            raise_error(mine)
        finally:
            enqueue(take, object())

    def raise_error(mine: str) -> None:
        raise ValueError

    with pytest.raises(UnsupportedType) as raised:
        handle("the caller's own")
    inner = raised.value.__context__
    assert isinstance(inner, ValueError)
    assert inner.__traceback__ is not None
    frame = inner.__traceback__.tb_next.tb_frame  # type: ignore[union-attr]
    assert frame.f_locals == {"mine": "the caller's own"}


def test_a_generator_of_the_callers_keeps_its_variables(at_home):
    def calls() -> Iterator[Any]:
        mine = "the caller's own"
        yield call(take, mine)
        raise ValueError(mine)

    with pytest.raises(ValueError, match="caller") as raised:
        enqueue_many(calls(), returning=False)
    frame = raised.traceback[-1].frame.raw
    assert frame.f_locals == {"mine": "the caller's own"}
