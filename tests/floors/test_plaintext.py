"""Plaintext isn't shown: neither as bytes nor in the frames of a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from async_attempts.encryption import Context, NullCipher, open_sealed, seal
from async_attempts.ids import uuid7
from async_attempts.payload import Arguments, dump_arguments, dump_value
from async_attempts.plaintext import (
    Plaintext,
    hide_own_values,
    hide_values,
    hides_arguments,
)

SECRET = "c4n4ry"


def variables(error: BaseException) -> dict[str, dict[str, Any]]:
    """By function, what its frame in the traceback holds."""
    found = {}
    traceback = error.__traceback__
    while traceback is not None:
        found[traceback.tb_frame.f_code.co_name] = dict(traceback.tb_frame.f_locals)
        traceback = traceback.tb_next
    return found


def test_bytes_show_their_size_alone():
    plain = Plaintext(SECRET.encode())
    for shown in (repr(plain), str(plain), f"{plain}", f"{plain!r:>20}", repr([plain])):
        assert "<sealed 6 bytes>" in shown
        assert SECRET not in shown


def test_bytes_are_bytes():
    plain = Plaintext(SECRET.encode())
    assert plain == SECRET.encode()
    assert plain.decode() == SECRET
    assert b"\x00" + plain == b"\x00c4n4ry"
    assert hash(plain) == hash(SECRET.encode())


def test_what_is_to_be_sealed_and_what_was_opened_is_of_that_type():
    context = Context("args", uuid7(), "a.b", None, "c")
    cipher = NullCipher()
    assert type(dump_arguments(Arguments(SECRET))) is Plaintext
    assert type(dump_value(SECRET)) is Plaintext
    assert type(open_sealed(seal(b"a", context, cipher), context, cipher)) is Plaintext


def fail(inner: str) -> None:
    raise ValueError(len(inner))


def begin(secret: str) -> None:
    fail(secret)


def test_frames_below_the_one_that_catches_are_cleared():
    def border() -> None:
        try:
            begin(SECRET)
        except ValueError as error:
            hide_values(error)
            raise

    def caller(mine: str) -> None:
        border()

    with pytest.raises(ValueError, match="6") as raised:
        caller(SECRET)
    found = variables(raised.value)
    assert found["begin"] == found["fail"] == {}
    assert found["caller"]["mine"] == SECRET
    assert [entry.name for entry in raised.traceback[-3:]] == ["border", "begin", "fail"]


def test_a_projects_frames_are_left_to_it():
    def border(hide: Any) -> None:
        try:
            begin(SECRET)
        except ValueError as error:
            hide(error)
            raise

    with pytest.raises(ValueError, match="6") as raised:
        border(hide_own_values)
    assert variables(raised.value)["begin"] == {"secret": SECRET}
    with pytest.raises(ValueError, match="6") as raised:
        border(hide_values)
    assert variables(raised.value)["begin"] == {}


@pytest.mark.parametrize("how", ["cause", "context", "group"])
def test_what_led_to_the_error_is_cleared_too(how):
    def chained(secret: str) -> None:
        try:
            begin(secret)
        except ValueError as error:
            if how == "group":
                raise ExceptionGroup("several", [error]) from None
            raise OSError from error if how == "cause" else None

    def border() -> None:
        try:
            chained(SECRET)
        except (OSError, ExceptionGroup) as error:
            hide_values(error)
            raise

    with pytest.raises((OSError, ExceptionGroup)) as raised:
        border()
    inner = raised.value.__context__
    assert inner is not None
    assert set(map(str, variables(inner).values())) == {"{}"}


def test_what_the_caller_was_handling_keeps_its_variables():
    def border() -> None:
        try:
            begin(SECRET)
        except ValueError as error:
            hide_values(error)
            raise

    def caller() -> None:
        try:
            mine(SECRET)
        except KeyError:
            border()

    def mine(value: str) -> None:
        raise KeyError

    with pytest.raises(ValueError, match="6") as raised:
        caller()
    (context,) = [raised.value.__context__]
    assert isinstance(context, KeyError)
    assert variables(context)["mine"] == {"value": SECRET}


def test_a_generator_that_goes_on_is_left_alone():
    def steps(secret: str) -> Iterator[int]:
        try:
            begin(secret)
        except ValueError as error:
            found.append(error)
        yield len(secret)
        ended.append(secret)

    ended: list[str] = []
    found: list[BaseException] = []
    going_on = steps(SECRET)

    def border() -> None:
        try:
            next(going_on)
            raise OSError("no") from found[0]
        except OSError as error:
            hide_values(error)
            raise

    with pytest.raises(OSError, match="no"):
        border()
    assert variables(found[0])["begin"] == {}
    assert list(going_on) == []
    assert ended == [SECRET]


def test_arguments_are_hidden_by_a_decorator():
    @hides_arguments
    def call(*args: Any, key: str) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as raised:
        call(SECRET, key=SECRET)
    assert {"args", "kwargs"}.isdisjoint(variables(raised.value)["calling"])


def test_arguments_of_a_coroutine_are_hidden_by_a_decorator():
    @hides_arguments
    async def call(secret: str) -> str:
        await asyncio.sleep(0)
        if secret != "right":
            begin(secret)
        return secret

    assert asyncio.run(call("right")) == "right"
    with pytest.raises(ValueError, match="6") as raised:
        asyncio.run(call(SECRET))
    (awaiting,) = [v for name, v in variables(raised.value).items() if name == "awaiting"]
    assert {"args", "kwargs"}.isdisjoint(awaiting)
